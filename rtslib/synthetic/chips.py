"""The embedded landscape: Arctic terrain with thaw slumps, so that everything runs without a download.

One physical model gives all eight bands of the 2026 GeoAI Arctic Challenge, 4 m pixels in EPSG:3413,
deterministic from a seed. No single modality is enough: for each slump there is about one bare decoy
without a scar and one scar that is green (`rtslib.synthetic.slumps`); snow and cloud shadow disturb the image
alone, noise, seams and voids the terrain alone.
"""

import csv
import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from rtslib.bands import CHALLENGE_BANDS
from rtslib.data.masks import encode, label_instances
from rtslib.errors import ConfigError
from rtslib.files import new_folder
from rtslib.synthetic.landscape import check_seed, check_size, make_land
from rtslib.synthetic.sites import make_site

CHIPS_PER_SITE = 6
#: the kinds of water a chip may have; `Site.waters` says how often
WATERS = (("lakes",), ("river",), ("lakes", "river"), ("coast",))


def make_chip(seed: int, size: int | tuple[int, int] = 128, site_seed: int = 0) -> tuple[np.ndarray, list[np.ndarray]]:
    """Make one chip.

    Args:
        seed: of the chip; size: px, one number or (height, width); site_seed: of the site it lies in.

    Returns:
        Bands float32 (8,h,w) in CHALLENGE_BANDS order and units, NaN = nodata (terrain only); and its
        slumps as bool (h,w) masks: 8-connected components of at least 10 px, possibly none.

    Raises:
        ConfigError: size or a seed out of range.
    """
    h, w = check_size(size)
    rng = np.random.default_rng(np.random.SeedSequence([0xC41B, check_seed(site_seed), check_seed(seed)]))
    site = make_site(site_seed)
    waters = WATERS[rng.choice(4, p=site.waters)]
    n = int(rng.choice(5, p=(0.08, 0.24, 0.36, 0.21, 0.11)))
    bands, truth, _ = make_land(rng, (h, w), site, waters, n, 2.0)
    return bands, label_instances(truth)[0]


def _write_part(
    folder: Path, part: str, first_id: int, seeds: Sequence[int], size: tuple[int, int], sites: tuple[int, int]
) -> dict:
    """Write the chips of one part and its manifest; return its labels as a COCO dict.

    Args:
        seeds: one a chip; sites: site seed of number 0, and the number of the part's first site.
    """
    (folder / part / "images").mkdir(parents=True)
    rows, annotations = [], []
    for i, seed in enumerate(seeds):
        site = sites[1] + i // CHIPS_PER_SITE
        bands, instances = make_chip(int(seed), size, sites[0] + site)
        group = f"site{site:03d}"
        name = f"{part}_{group}_{i:04d}.npz"
        np.savez(folder / part / "images" / name, image=np.ascontiguousarray(bands.transpose(1, 2, 0)))
        rows.append((first_id + i, name, *size, group))
        for mask in instances:
            ys, xs = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
            box = [int(xs[0]), int(ys[0]), int(xs[-1] - xs[0] + 1), int(ys[-1] - ys[0] + 1)]
            annotations.append({"image_id": first_id + i, "category_id": 1, "segmentation": encode(mask),
                                "bbox": box, "area": int(mask.sum()), "iscrowd": 0})  # fmt: skip
    with open(folder / "metadata" / f"{part}_manifest.csv", "w", newline="", encoding="utf-8") as f:
        csv.writer(f).writerows([("image_id", "file_name", "height", "width", "group"), *rows])
    return {
        "images": [{"id": i, "file_name": name, "height": h, "width": w} for i, name, h, w, _ in rows],
        "annotations": [{"id": k + 1, **a} for k, a in enumerate(annotations)],
        "categories": [{"id": 1, "name": "rts", "supercategory": "landform"}],
    }


def write_challenge(out: str | Path, chips: int, size: int | tuple[int, int], seed: int, test_chips: int = 0) -> Path:
    """Write a data set in the layout of the 2026 GeoAI Arctic Challenge, whole or not at all.

    Args:
        out: folder to make; it must not exist, or be empty.
        chips: labelled chips, `CHIPS_PER_SITE` a site; test_chips: unlabelled ones of other sites.
        size: px, one number or (height, width); seed: of everything.

    Returns:
        `out` as a Path.

    Raises:
        ConfigError: chips, size or seed out of range.
        OutputError: `out` holds something, or cannot be written.
    """
    hw = check_size(size)
    if chips < 1 or test_chips < 0:
        raise ConfigError(f"chips is {chips} and test_chips {test_chips}: give at least 1 and at least 0")
    out = Path(out)
    with new_folder(out) as part:
        (part / "metadata").mkdir()
        (part / "metadata" / "band_names.json").write_text(json.dumps(list(CHALLENGE_BANDS)) + "\n")
        first_site, *seeds = np.random.SeedSequence(check_seed(seed)).generate_state(chips + test_chips + 1)
        used = -(-chips // CHIPS_PER_SITE)
        coco = _write_part(part, "train", 1, seeds[:chips], hw, (int(first_site), 0))
        _write_part(part, "test", chips + 1, seeds[chips:], hw, (int(first_site), used))
        (part / "train" / "annotations").mkdir()
        (part / "train" / "annotations" / "instances_train.json").write_text(json.dumps(coco))
    return out


def kept_challenge(root: str | Path, chips: int, size: int, seed: int) -> Path:
    """Return a data set of `write_challenge` below a folder, made there unless this generator made it before.

    Args:
        root: gets `synthetic/`, with one folder a data set.
        chips, size, seed: as for `write_challenge`.

    Raises:
        ConfigError, OutputError: as `write_challenge`.
    """
    bands, masks = make_chip(seed, size=64)  # a changed generator changes this chip, and so the folder's name
    mark = hashlib.sha256(bands.tobytes() + b"".join(m.tobytes() for m in masks)).hexdigest()[:8]
    folder = Path(root) / "synthetic" / f"{chips}-chips-{size}px-seed{seed}-{mark}"
    return folder if folder.exists() else write_challenge(folder, chips, size, seed)
