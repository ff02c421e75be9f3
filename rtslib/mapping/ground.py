"""Ground totals: from what a map shows to how many slumps there are and how large, with 95 % intervals.

A map's detections are partly wrong, it misses slumps, and its outlines are too large or too small. How much so is known
from the validation side of the model's run, whose *ledger* (`rtslib.evaluation.ledger`) says of every detection whether
it was right and how large the slump is, and which slumps were missed. One draw of the totals is:

    w       weights of the site groups, exponential: the Bayesian bootstrap, which draws what the ledger might have been
    T, b    Platt scaling fitted anew with them (`rtslib.evaluation.calibration`): what scores mean is uncertain too
    right   detections of the map, each right with its probability; R of them
    r       recall: the share of known slumps found by detections that a map with this least score shows
    missed  negative binomial (R + 1/2, r): how many were missed where R were found, each found with chance r
    area    of the right ones times known over mapped area; of the missed ones, as of those missed in the ledger

The totals are the draws' median, 2.5 and 97.5 per cent. They hold for ground like that of the ledger. A run's own one
is of chips, and no slump on a chip is larger than that: the count holds and the area does not (on 24 grounds the truth
lay in its interval 13 and 21 times, with two models), so a map does not say it. The better ledger is that of a map of
known ground (`map_ledger`), large slumps, seams and all. What neither knows: a region that is unlike all of it, and
slumps too small for the label rule.

Sources: Rubin 1981, "The Bayesian bootstrap", Annals of Statistics 9(1), 130-134; recall and precision on a sample
against the map's own count is the stratified estimator of Olofsson et al. 2014 (Remote Sensing of Environment 148,
42-57, doi 10.1016/j.rse.2014.02.015) with the strata shown and not shown.
"""

from pathlib import Path

import geopandas as gpd
import numpy as np
import pandas as pd
import torch

from rtslib.data.ground import measure
from rtslib.data.projecting import project
from rtslib.errors import DataError, one_line
from rtslib.evaluation.calibration import fit_platt
from rtslib.evaluation.polygons import match_polygons
from rtslib.models.platt import platt

#: Draws of the ledger, and of a map for each.
LEDGERS, MAPS = 200, 20
#: With fewer site groups than this, chips are drawn instead.
LEAST_GROUPS = 8


def ground_totals(
    scores: np.ndarray, areas_m2: np.ndarray, ledger: pd.DataFrame, least: float, seed: int = 0
) -> dict[str, float | None]:
    """Count the slumps of a mapped ground and add up their area.

    Args:
        scores: float (n,), calibrated scores of a map's detections, `least` or more.
        areas_m2: float (n,), their areas.
        ledger: calibrated scores, and areas in m2 (`in_m2`, `map_ledger`).
        least: the map's least score.
        seed: of the draws.

    Returns:
        `ground_count`, `ground_count_low`, `ground_count_high`, `ground_area_m2`, `ground_area_low`,
        `ground_area_high`, and what they are made of: `recall` (share of known slumps that a map shows), `area_ratio`
        (known over mapped area of right detections). All None where the ledger has no right detection that a map
        would show: then a map says nothing of the ground.
    """
    names = ("count", "count_low", "count_high", "area_m2", "area_low", "area_high")
    shown = (ledger["score"] >= least).to_numpy()
    hit = shown & ledger["right"].to_numpy()
    known = ledger["truth_m2"].notna().to_numpy()
    if not hit.any():
        return {**{f"ground_{n}": None for n in names}, "recall": None, "area_ratio": None}
    rng = np.random.default_rng(seed)
    drawn = np.array([_draw(scores, areas_m2, ledger, (hit, known), rng) for _ in range(LEDGERS)])
    counts, areas = (np.quantile(part.ravel(), [0.5, 0.025, 0.975]) for part in drawn.transpose(1, 0, 2))
    truth, area = ledger["truth_m2"].to_numpy(), ledger["area_m2"].to_numpy()
    return {
        **{f"ground_{n}": float(v) for n, v in zip(names, [*counts, *areas], strict=True)},
        "recall": float(hit.sum() / known.sum()), "area_ratio": float(truth[hit].sum() / area[hit].sum()),
    }  # fmt: skip


def in_m2(ledger: pd.DataFrame, pixel_m2: float) -> pd.DataFrame:
    """Return a run's ledger with areas in m2; `pixel_m2` is a pixel's, the same on chips and map."""
    return ledger.assign(area_m2=ledger["area_px"] * pixel_m2, truth_m2=ledger["truth_px"] * pixel_m2)


def map_ledger(
    pred: gpd.GeoDataFrame, truth: gpd.GeoDataFrame, iou: float = 0.5, block_m: float = 1000.0
) -> pd.DataFrame:
    """Return the ledger of a map of known ground: its candidates, right or wrong, and the slumps that it missed.

    Args:
        pred: polygons with `score`, calibrated; all candidates, not only those shown.
        truth: all slumps there, in any CRS.
        iou: from which a candidate is right.
        block_m: side of the squares that stand for site groups, m.

    Returns:
        As `rtslib.evaluation.ledger.ledger`, with `area_m2` and `truth_m2` on the ground; chip and group are squares.
    """
    score, known = match_polygons(pred, truth, iou), project(truth, pred.crs)
    areas, sizes = measure(pred)[0], measure(known)[0]
    squares = [_squares(frame, block_m) for frame in (pred, known)]
    slump = {p: t for p, t, _ in score.pairs}
    rows = [
        (squares[1][slump[p]] if p in slump else squares[0][p], pred["score"].iloc[p], p in slump, areas[p],
         sizes[slump[p]] if p in slump else np.nan)
        for p in range(len(pred))
    ]  # fmt: skip
    missed = sorted(set(range(len(known))) - set(slump.values()))
    rows += [(squares[1][t], np.nan, False, np.nan, sizes[t]) for t in missed]
    frame = pd.DataFrame(rows, columns=["group", "score", "right", "area_m2", "truth_m2"])
    return frame.assign(chip=frame["group"]).astype({"right": bool, "score": float})


def read_ledger(path: str | Path) -> pd.DataFrame:
    """Read what `map_ledger` returned, from CSV. Raises DataError: missing, unreadable, or other columns."""
    try:
        frame = pd.read_csv(path, dtype={"group": str, "chip": str})
    except (OSError, ValueError) as e:
        raise DataError(path, f"no readable table: {one_line(e)}", "what `evaluate --map --ledger` writes") from e
    missing = [c for c in ("chip", "group", "score", "right", "area_m2", "truth_m2") if c not in frame]
    if missing:
        raise DataError(path, f"columns {', '.join(frame)}", f"also {', '.join(missing)}")
    return frame.astype({"right": bool})


def _squares(frame: gpd.GeoDataFrame, side: float) -> list[str]:
    points = frame.geometry.representative_point()
    return [f"{x:.0f} {y:.0f}" for x, y in zip(points.x // side, points.y // side, strict=True)]


def _draw(
    scores: np.ndarray, areas_m2: np.ndarray, ledger: pd.DataFrame, parts: tuple[np.ndarray, np.ndarray],
    rng: np.random.Generator,
) -> np.ndarray:  # fmt: skip
    """Draw one ledger and `MAPS` maps by it: counts and areas, (2, MAPS)."""
    hit, known = parts
    weight = _weights(ledger, rng)
    found = ledger["score"].notna().to_numpy()
    fitted = fit_platt(ledger["score"].to_numpy()[found], ledger["right"].to_numpy()[found], weight[found])
    p = platt(torch.from_numpy(np.array(scores, dtype=float)), *(fitted or (1.0, 0.0))).numpy()
    recall = float(np.clip(weight[hit].sum() / weight[known].sum(), 1e-3, 1))
    truth, area = ledger["truth_m2"].to_numpy(), ledger["area_m2"].to_numpy()
    ratio = (weight * truth)[hit].sum() / (weight * area)[hit].sum()
    right = rng.random((MAPS, len(p))) < p
    missed = rng.negative_binomial(right.sum(1) + 0.5, recall)
    sizes = truth[known & ~hit]
    lost = np.zeros(MAPS)
    if len(sizes):
        share = weight[known & ~hit] / weight[known & ~hit].sum()
        mean = float(share @ sizes)
        spread = float(np.sqrt(share @ (sizes - mean) ** 2))
        lost = np.maximum(missed * mean + rng.normal(size=MAPS) * spread * np.sqrt(missed), missed * sizes.min())
    return np.array([right.sum(1) + missed, right @ np.asarray(areas_m2, float) * ratio + lost])


def _weights(ledger: pd.DataFrame, rng: np.random.Generator) -> np.ndarray:
    """Draw a weight for each site group, or for each chip where groups are few; (rows,)."""
    unit = "group" if ledger["group"].nunique() >= LEAST_GROUPS else "chip"
    index, names = pd.factorize(ledger[unit])
    return rng.exponential(size=len(names))[index]
