"""A folder of chips: layout, groups, instances, sizes, values, and what is odd about them. All chips are read."""

from collections import Counter
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

import numpy as np
from rasterio.crs import CRS

from rtslib.data.chips import Chip, ChipSet
from rtslib.data.diagnosis.findings import Findings, share
from rtslib.data.masks import MIN_PIXELS
from rtslib.data.opening import open_chips
from rtslib.errors import DataError

#: Share of chips from which on one group is said to be large.
LARGE_GROUP = 0.6
#: Most faults that are said.
MOST_FAULTS = 20


def diagnose_chips(path: Path, category: str = "", progress: Callable[[int, int], None] | None = None) -> Findings:
    """Look at a chip folder.

    Args:
        path: its root.
        category: as `rtslib.data.opening.open_chips` takes it.
        progress: called with (chips read, chips in all).

    Raises:
        ConfigError, DataError: it cannot be opened.
    """
    chipset, found = open_chips(path, category), Findings(path)
    chips, labelled = chipset.chips, chipset.labelled()
    found.facts.append(f"a folder of chips, layout {chipset.layout}: {len(chips)} chips, {len(labelled)} with labels")
    _sizes(chipset, found)
    derived = f"; {', '.join(chipset.derived)} derived" if chipset.derived else ""
    found.facts.append(f"bands: {', '.join(chipset.bands)}{derived}")
    fits = chipset.modalities()
    found.facts.append(f"modalities: {', '.join(fits) or 'none of the default ones'}")
    if not fits:
        found.odd.append("no default modality has all its bands: train needs --set modalities=...")
    found.odd += chipset.notes
    if labelled:
        _instances(chipset, found)
        _groups(chipset, found)
    _pixels(chipset, found, progress)
    _uses(chipset, found)
    return found


def _sizes(chipset: ChipSet, found: Findings) -> None:
    """Say sizes, CRSs and pixel sizes of the chips."""
    sizes = Counter((c.height, c.width) for c in chipset.chips).most_common()
    few = ", ".join(f"{h} x {w} px ({n})" for (h, w), n in sizes[:3])
    found.facts.append(f"sizes (height x width): {few}" + (f" and {len(sizes) - 3} more" if len(sizes) > 3 else ""))
    if len(sizes) > 1:
        sides = [side for size, _ in sizes for side in size]
        found.odd.append(f"chips of {len(sizes)} sizes, sides from {min(sides)} to {max(sides)} px")
    places = Counter((c.crs, round(c.transform.a, 6)) for c in chipset.chips if c.transform)
    for (crs, side), n in places.most_common(5):
        found.facts.append(f"georeferenced: {n} chips in {crs}, pixels of {side:g} map units")
    if len({side for _, side in places}) > 1:
        found.odd.append("chips of several pixel sizes: slumps are not of one scale")


def _instances(chipset: ChipSet, found: Findings) -> None:
    """Say how many slumps there are and how large."""
    labelled = chipset.labelled()
    areas = np.array([i.area for c in labelled for i in chipset.instances[c.id]])
    empty = sum(not chipset.instances[c.id] for c in labelled)
    found.facts.append(f"instances: {len(areas)} on {len(labelled) - empty} chips; {empty} labelled chips have none")
    if not len(areas):
        found.odd.append("not one instance: nothing can be trained on it")
        return
    metres = _metres(labelled[0])
    ground = f" ({np.median(areas) * metres:.0f} m2)" if metres else ""
    found.facts.append(
        f"instance sizes: {np.median(areas):.0f} px in the median{ground}, {areas.min()} to {areas.max()}"
    )
    if tiny := int((areas < MIN_PIXELS).sum()):
        found.odd.append(f"{tiny} instances of less than {MIN_PIXELS} px")
    huge = sum(i.area > 0.5 * c.height * c.width for c in labelled for i in chipset.instances[c.id])
    if huge:
        found.odd.append(f"{huge} instances cover more than half of their chip")
    twice = sum(len(found_) - len({i.rle["counts"] for i in found_}) for found_ in chipset.instances.values())
    if twice:
        found.odd.append(f"{twice} instances are there twice on their chip")


def _metres(chip: Chip) -> float | None:
    """Return the area of a pixel in m2; None where it is not known."""
    if chip.crs is None or chip.transform is None or not (crs := CRS.from_user_input(chip.crs)).is_projected:
        return None
    return abs(chip.transform.a * chip.transform.e) * crs.linear_units_factor[1] ** 2


def _groups(chipset: ChipSet, found: Findings) -> None:
    """Say what keeps chips together in a split."""
    sizes = Counter(c.group for c in chipset.labelled()).most_common()
    kind = "sites, as the data says" if chipset.has_groups else "sources by their names, no sites"
    found.facts.append(f"groups: {len(sizes)}, {kind}; the largest, {sizes[0][0]}, has {sizes[0][1]} chips")
    total = len(chipset.labelled())
    if len(sizes) == 1 and total > 1:
        found.odd.append("one group: it cannot be split; give groups by train --split FILE")
    elif sizes[0][1] > LARGE_GROUP * total:
        found.odd.append(f"group {sizes[0][0]} has {share(sizes[0][1], total)} of the chips: a split will be uneven")


def _pixels(chipset: ChipSet, found: Findings, progress: Callable[[int, int], None] | None) -> None:
    """Read every chip; say values and voids by band, chips that cannot be read, are constant or there twice."""
    shape = (len(chipset.bands),)
    low, high = np.full(shape, np.inf), np.full(shape, -np.inf)
    void, total = np.zeros(shape, int), 0
    seen: dict[str, str] = {}
    twins, bare, flat = [], [], []
    for k, chip in enumerate(chipset.chips, start=1):
        try:
            pixels = chipset.read(chip)
        except DataError as e:
            found.faults.append(str(e))
            continue
        nan = np.isnan(pixels)
        void, total = void + nan.sum(axis=(1, 2)), total + nan[0].size
        low, high = (
            np.fmin(low, np.fmin.reduce(pixels, axis=(1, 2))),
            np.fmax(high, np.fmax.reduce(pixels, axis=(1, 2))),
        )
        twin = seen.setdefault(sha256(pixels.tobytes()).hexdigest(), chip.name)
        twins += [f"{chip.name} and {twin}"] if twin != chip.name else []
        bare += [chip.name] if nan.all() else []
        flat += [chip.name] if not nan.all() and (pixels == pixels[:, :1, :1]).all() else []
        if progress:
            progress(k, len(chipset.chips))
    for name, a, b, n in zip(chipset.bands, low, high, void):
        values = f"{a:g} to {b:g}" if a <= b else "no valid value"
        found.facts.append(f"band {name}: {values}, {share(int(n), total)} void")
    for names, said in (
        (twins, "pairs of chips with the same pixels"),
        (bare, "chips all void"),
        (flat, "chips of one colour"),
    ):
        if names:
            found.odd.append(f"{len(names)} {said}, such as {names[0]}")
    if len(found.faults) > MOST_FAULTS:
        found.faults[MOST_FAULTS:] = [f"{chipset.root}: {len(found.faults) - MOST_FAULTS} more chips cannot be read"]


def _uses(chipset: ChipSet, found: Findings) -> None:
    """Say which command takes it."""
    root = chipset.root
    if any(chipset.instances.values()):
        found.uses.append(f"train --data {root} --out RUN; evaluate --data {root} --run RUN")
    found.uses.append(f"predict --run RUN --data {root} --out FILE")
