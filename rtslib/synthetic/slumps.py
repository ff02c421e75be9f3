"""Retrogressive thaw slumps of the invented landscape, and the things that look like one.

A *slump* is a bite out of a slope beside water: an arcuate steep headwall at the upslope end, a bare
hummocky floor with flow streaks, and a debris tongue down to the water (Kokelj et al. 2013,
doi 10.1002/jgrf.20063). Its label is all three. A *decoy* has one half of that signature:
a `bare` one (blow-out, gravel spread) has the outline and the colours but no scar in the terrain, an
`old` one (scar long since grown over, cut bank) has the scar but is green.
"""

from dataclasses import dataclass

import cv2
import numpy as np

from rtslib.synthetic.terrain import Ground, blur, step

SLUMP, BARE, OLD = "slump", "bare", "old"
MEDIAN_PX, SPREAD = 900.0, 1.95  # log-normal areas before clipping at the chip's edge
SMALLEST_PX = 30.0


@dataclass(frozen=True)
class Scar:
    """One scar or decoy in its window of the landscape.

    Attributes:
        kind: SLUMP, BARE or OLD.
        window: row and column slices.
        mask: bool (h,w), the outline.
        cut: metres taken off the ground, float32 (h,w), negative where debris is heaped.
        wall: 0-1, how much of a pixel is headwall, float32 (h,w).
        streak: flow streaks along the axis, float32 (h,w), standard deviation about 1.
        tint: factors on the site's soil colour (red, green, blue, nir), float32 (4,).
    """

    kind: str
    window: tuple[slice, slice]
    mask: np.ndarray
    cut: np.ndarray
    wall: np.ndarray
    streak: np.ndarray
    tint: np.ndarray


def draw_area(rng: np.random.Generator, largest: float) -> float:
    """Draw an area in px, log-normal with median about `MEDIAN_PX`, within [SMALLEST_PX, largest]."""
    for _ in range(20):
        area = MEDIAN_PX * np.exp(SPREAD * rng.standard_normal())
        if SMALLEST_PX <= area <= largest:
            return float(area)
    return float(min(MEDIAN_PX, largest))


def headwall_m(area: float) -> float:
    """Return the usual height in metres of the headwall of a scar of `area` px: 2.5 to 8 m."""
    return max(1.7 + 1.0 * float(np.log(max(area, 20) / 20)), 2.5)


def _half_width(y: np.ndarray, crown: float, toe: float) -> np.ndarray:
    """Half width (1 at the widest) at `y`: 0 at the toe, 1 at the crown; below 0 it is the tongue."""
    head = np.sqrt(np.clip(1 - ((y - crown) / (1 - crown)) ** 2, 0, 1))
    neck = toe + (1 - toe) * step(y, 0, crown)
    tongue = toe * (1 + 0.5 * np.clip(-y, 0, 1))
    return np.where(y > crown, head, np.where(y > 0, neck, tongue))


def _outline(
    rng: np.random.Generator, ground: Ground, toe: np.ndarray, up: np.ndarray, length: float, width: float
) -> tuple[tuple[slice, slice], np.ndarray, np.ndarray, np.ndarray] | None:
    """Return (window, mask, y along the axis, x across) of a horseshoe, or None where none fits."""
    h, w = ground.z.shape
    ends = np.array([[a * length * up[0] + b * width * up[1], a * length * up[1] - b * width * up[0]]
                     for a in (-0.55, 1.15) for b in (-0.75, 0.75)]) + toe  # fmt: skip
    low, high = np.floor(ends.min(0)).astype(int) - 3, np.ceil(ends.max(0)).astype(int) + 4
    rows, cols = slice(max(low[0], 0), min(high[0], h)), slice(max(low[1], 0), min(high[1], w))
    window = (rows, cols)
    r = np.arange(rows.start, rows.stop, dtype=np.float32)[:, None] - toe[0]
    c = np.arange(cols.start, cols.stop, dtype=np.float32)[None] - toe[1]
    y = (r * up[0] + c * up[1]) / length
    x = (-r * up[1] + c * up[0]) / (width / 2)
    bend = rng.normal(0, 0.25)
    x = x + bend * np.clip(1 - y, 0, 2) ** 2
    ragged = float(np.clip(width / 16, 1.0, 3.5))
    rough = [ragged * blur(np.ascontiguousarray(a[window]), ragged) for a in ground.rough]
    amount = rng.uniform(0.03, 0.08)
    lobes = np.abs(np.cos(rng.uniform(1.2, 3.0) * np.arctan2(x, 2 * y - 0.9) + rng.uniform(0, 6.3)))
    grow = 1 + rng.uniform(0.05, 0.22) * (0.64 - lobes)  # rounded bites with sharp spurs between them
    y, x = (y - 0.4) * grow + 0.4, x * grow
    limit = _half_width(y + amount * rough[0], rng.uniform(0.45, 0.65), rng.uniform(0.35, 0.8))
    tongue = rng.uniform(0.05, 0.5)
    mask = (np.abs(x) < limit * (1 + amount * rough[1])) & (y > -tongue)
    wet = ground.water[window] > 0
    if mask.sum() == 0 or (mask & wet & (y > 0.25)).sum() > 0.08 * mask.sum():
        return None
    mask &= ~wet
    n, labels = cv2.connectedComponents(mask.astype(np.uint8), connectivity=4)
    if n < 2:
        return None
    sizes = np.bincount(labels.ravel())
    sizes[0] = 0
    return window, labels == int(sizes.argmax()), y, x


def _relief(rng: np.random.Generator, mask: np.ndarray, y: np.ndarray, rough: np.ndarray) -> tuple:
    """Return (cut in metres, headwall share) of a scar with the given outline."""
    area = float(mask.sum())
    drop = min(headwall_m(area) * np.exp(rng.normal(0, 0.12)), 10.0)
    inside = cv2.distanceTransform(np.pad(mask, 1).astype(np.uint8), cv2.DIST_L2, 5)[1:-1, 1:-1]
    rise = 1.2 + 0.14 * drop  # px that the wall takes
    uphill = 0.12 + 0.88 * step(y, -0.1, 0.5)
    cut = drop * uphill * step(inside, -0.3, rise)
    hummock = 0.35 * rough * step(inside, 1, 4)
    heap = 0.7 * mask * step(y, 0.25, 0.0)
    wall = mask * step(inside, rise + 0.8, rise - 0.8) * step(y, 0.3, 0.7)
    return (cut - hummock * mask - heap).astype(np.float32), wall.astype(np.float32)


def make_scar(
    rng: np.random.Generator, ground: Ground, kind: str, area: float, toe: np.ndarray, up: np.ndarray,
    blocked: np.ndarray,
) -> Scar | None:  # fmt: skip
    """Make one scar or decoy of about `area` px whose toe is at `toe` and whose axis climbs along `up`.

    Args:
        toe: row and column; `up`: unit vector (row, column) pointing upslope.
        blocked: bool (h,w), where it may not lie.

    Returns:
        The scar, or None if it does not fit there: it would lie in water or on `blocked` ground, or the
        bank is too low for its headwall.
    """
    aspect = np.exp(rng.normal(0, 0.3))
    width = np.sqrt(area / (0.86 * aspect))
    found = _outline(rng, ground, toe, up, width * aspect, width)
    if found is None or found[1].sum() < 0.4 * area or blocked[found[0]][found[1]].any():
        return None
    window, mask, y, x = found
    rough = ground.rough[(slice(None), *window)]
    cut, wall = _relief(rng, mask, y, rough[1])
    steep = wall > 0.5
    if not steep.any() or np.minimum(cut, ground.z[window])[steep].sum() < 0.8 * cut[steep].sum():
        return None  # the bank is too low for the headwall
    profile = rng.standard_normal(64, dtype=np.float32)
    across = (x + 0.12 * rough[0] + 0.3 * y * x) * min(width / 5, 12) + 32
    streak = np.interp(across, np.arange(64), profile).astype(np.float32)
    tint = np.exp(rng.normal(0, 0.1) + rng.normal(0, 0.02, 4)).astype(np.float32)
    return Scar(kind, window, mask, cut, wall, streak, tint)


def _toes(
    rng: np.random.Generator, ground: Ground, slope: tuple[np.ndarray, np.ndarray], inner: tuple[slice, slice]
) -> tuple[np.ndarray, np.ndarray]:
    """Draw toes near water inside `inner`: positions int (n,2) and unit vectors upslope (n,2)."""
    near = ground.shore[inner]
    spots = np.flatnonzero(((near > 0.3) & (near < 6)).ravel())
    spots = rng.permutation(spots)[:20000]
    rows, cols = np.divmod(spots, near.shape[1])
    toes = np.stack([rows + inner[0].start, cols + inner[1].start], 1)
    up = np.stack([g[toes[:, 0], toes[:, 1]] for g in slope], 1)
    size = np.hypot(up[:, 0], up[:, 1])
    good = size > 0.3
    return toes[good], up[good] / size[good, None]


def _where(
    ground: Ground, blocked: np.ndarray, toes: np.ndarray, up: np.ndarray, area: float, inner: tuple[slice, slice]
) -> np.ndarray:
    """Return the indices of toes where a scar of `area` px has a high bank, free ground and is seen."""
    side = np.stack([-up[:, 1], up[:, 0]], 1)
    steps = np.array([(0.5, 0), (0.85, 0), (0.5, 0.4), (0.5, -0.4)])[:, :, None, None] * np.sqrt(area)
    spots = np.rint(toes + steps[:, 0] * up + steps[:, 1] * side).astype(int)  # middle, head, both sides
    good = np.ones(len(toes), bool)
    for axis in (0, 1):
        good &= (spots[0, :, axis] >= inner[axis].start) & (spots[0, :, axis] < inner[axis].stop)
        spots[:, :, axis] = np.clip(spots[:, :, axis], 0, blocked.shape[axis] - 1)
    rows, cols = spots[:, :, 0], spots[:, :, 1]
    good &= ground.z[rows[1], cols[1]] > headwall_m(area)
    good &= ~(blocked[rows, cols] | (ground.water[rows, cols] > 0)).any(0)
    return np.flatnonzero(good)


def place(
    rng: np.random.Generator, ground: Ground, kinds: list[str], inner: tuple[slice, slice], largest: float
) -> list[Scar]:
    """Place scars and decoys beside water without a decoy touching anything else.

    Some slumps may touch slumps (their union is one instance then).

    Args:
        kinds: SLUMP, BARE or OLD for each wanted scar; those that fit nowhere are left out.
        inner: rows and columns of the landscape that will be seen.
        largest: upper limit of an area in px.

    Returns:
        Scars in the order drawn.
    """
    toes, up = _toes(rng, ground, np.gradient(blur(ground.shore, 3)), inner)
    taken, decoys = np.zeros(ground.z.shape, bool), np.zeros(ground.z.shape, bool)  # each grown by 4 px
    scars = []
    for kind in kinds:
        blocked = decoys if kind == SLUMP and rng.random() < 0.3 else taken
        some = rng.permutation(len(toes))[:400]
        scar = _try(rng, ground, kind, blocked, toes[some], up[some], inner, largest)
        if scar is not None:
            grown = cv2.dilate(scar.mask.astype(np.uint8), np.ones((9, 9), np.uint8)) > 0
            for board in (taken,) if kind == SLUMP else (taken, decoys):
                board[scar.window] |= grown
            scars.append(scar)
    return scars


def _try(
    rng: np.random.Generator, ground: Ground, kind: str, blocked: np.ndarray, toes: np.ndarray, up: np.ndarray,
    inner: tuple[slice, slice], largest: float,
) -> Scar | None:  # fmt: skip
    """Try two areas at four places each; return the first scar that fits, or None."""
    for area in (draw_area(rng, largest), draw_area(rng, largest)):
        fits = _where(ground, blocked, toes, up, area, inner)
        for i in rng.permutation(fits)[:4]:
            scar = make_scar(rng, ground, kind, area, toes[i], up[i], blocked)
            if scar is not None:
                return scar
    return None
