"""Splits: which chips train, which choose the model, which judge it.

Chips of one site look alike, overlap or show the same place on another date, so a chip-wise split would
test on what was trained on. Whole *groups* (`Chip.group`: the site where the data gives one, else the
source, else the chip itself) go to one *side*: `train`, `val` or `test`. A split is a table with one row
per labelled chip, and is saved as CSV with each run.

On grouped splits of spatial data: Roberts et al. 2017 (Ecography, doi 10.1111/ecog.02881).
"""

from pathlib import Path

import numpy as np
import pandas as pd

from rtslib.data.chips import ChipSet
from rtslib.errors import ConfigError, DataError, one_line
from rtslib.files import whole

SIDES = ("train", "val", "test")
COLUMNS = ("chip", "name", "group", "side")


def split_by_group(chipset: ChipSet, val: float = 0.15, test: float = 0.2, seed: int = 0) -> pd.DataFrame:
    """Share out the labelled chips among train, val and test, whole groups at a time.

    Groups, shuffled by `seed` and then taken from the largest to the smallest, each go to the side that
    lacks most chips: the largest tend to train, and the sides come as close to the fractions as whole
    groups allow. Each side that is asked for gets at least one group. With exactly two groups the larger
    is train, the other test, and there is no val: a third side would have to share a group with
    one of them. The same chip set and seed give the same split.

    Args:
        chipset: an opened data set; unlabelled chips are left out.
        val, test: fractions of the labelled chips, 0 <= val, 0 <= test, val + test < 1; with 0 for both all
            chips train, for a last model when the scores are known.
        seed: of the shuffle.

    Returns:
        Columns `chip` (id, int), `name`, `group` (str), `side` ("train", "val", "test"), by chip id.

    Raises:
        ConfigError: a fraction is out of range.
        DataError: there are fewer than two groups, and more than one side is asked for.
    """
    if not (val >= 0 and test >= 0 and val + test < 1):
        raise ConfigError(f"val={val:g} and test={test:g}: needs 0 <= val, 0 <= test, val + test < 1")
    wanted = {side: f for side, f in (("train", 1 - val - test), ("val", val), ("test", test)) if f > 0}
    table = _groups(chipset, min(len(wanted), 2))
    sizes = _shuffled_sizes(table, seed)
    if len(sizes) == 2 and len(wanted) == 3:
        sides = dict(zip(sizes, ("train", "test"), strict=True))
    else:
        sides = _assign(sizes, {s: f * len(table) for s, f in wanted.items()})
    return table.assign(side=table["group"].map(sides))


def folds_by_group(chipset: ChipSet, k: int = 5, seed: int = 0) -> pd.DataFrame:
    """Share out the labelled chips among `k` folds for cross-validation, whole groups at a time.

    Groups, shuffled by `seed` and taken from the largest to the smallest, go to the smallest fold so far.

    Returns:
        Columns `chip` (id, int), `name`, `group` (str), `fold` (int from 0 to k - 1), by chip id.

    Raises:
        ConfigError: k is less than 2.
        DataError: there are fewer groups than folds.
    """
    if k < 2:
        raise ConfigError(f"k={k} folds: give 2 or more")
    table = _groups(chipset, k)
    total = np.zeros(k, dtype=int)
    folds: dict[str, int] = {}
    for group, size in _shuffled_sizes(table, seed).items():
        folds[group] = int(total.argmin())
        total[folds[group]] += size
    return table.assign(fold=table["group"].map(folds))


def fold_split(folds: pd.DataFrame, fold: int, val: float = 0.1, seed: int = 0) -> pd.DataFrame:
    """Return the split of one fold: it tests, some groups of the others validate, the rest trains.

    Args:
        folds: from `folds_by_group`.
        fold: number of the one to test on.
        val: least share of the other folds' chips that validates, in whole groups drawn by `seed`.
        seed: of that draw.

    Returns:
        Columns as `split_by_group`.

    Raises:
        ConfigError: there is no such fold, or `val` leaves nothing to train on.
    """
    if fold not in set(folds["fold"]):
        raise ConfigError(f"no fold {fold}: there are {sorted(set(folds['fold']))}")
    rest = folds[folds["fold"] != fold]
    sizes = rest["group"].value_counts().sort_index()
    order = sizes.iloc[np.random.default_rng([seed, fold]).permutation(len(sizes))]
    chosen = list(order.index[: int((order.cumsum() < val * len(rest)).sum()) + 1]) if val else []
    if len(chosen) == len(sizes):
        raise ConfigError(f"val={val:g} takes all {len(sizes)} groups beside fold {fold}: give less")
    side = np.where(folds["fold"] == fold, "test", np.where(folds["group"].isin(chosen), "val", "train"))
    return folds.drop(columns="fold").assign(side=side)


def hold_out_site(chipset: ChipSet, split: pd.DataFrame) -> pd.DataFrame:
    """Put the largest georeferenced site on the test side of a split, so that it can be mapped.

    The other test sites stay, so that scores do not judge one place only.

    Args:
        chipset, split: as from `split_by_group`.

    Returns:
        A changed copy; an equal one where no site lies in one CRS, or the largest is on the test side.
    """
    sites: dict[str, set] = {c.group: set() for c in chipset.chips}
    for c in chipset.chips:
        sites[c.group].add(c.crs)
    sizes = split["group"].value_counts().sort_index().sort_values(ascending=False, kind="stable")
    mappable = [g for g in sizes.index if len(sites[g]) == 1 and None not in sites[g]]
    out = split.copy()
    if mappable:
        out.loc[out["group"] == mappable[0], "side"] = "test"
    return out


def held_out_group(chipset: ChipSet, split: pd.DataFrame) -> str:
    """Return the site with most chips, all of one CRS, among those on the test side of a split.

    Raises:
        DataError: every site on the test side lies in several CRSs, or there is none.
    """
    best, most = "", 0
    for group in sorted(set(split.loc[split["side"] == "test", "group"])):
        chips = [c for c in chipset.chips if c.group == group]
        if len({c.crs for c in chips}) == 1 and len(chips) > most:
            best, most = group, len(chips)
    if not best:
        raise DataError(chipset.root, "no site of one CRS on the test side", "at least one")
    return best


def thin(split: pd.DataFrame, limit: int) -> pd.DataFrame:
    """Return about `limit` rows of a split, at even steps through each side, to try a large set fast.

    Every side keeps its share, and at least two chips (or what it has).
    """
    if len(split) <= limit:
        return split
    kept: list[int] = []
    for side in split["side"].unique():
        rows = split.index[split["side"] == side]
        count = min(len(rows), max(2, round(limit * len(rows) / len(split))))
        kept += [rows[round(i)] for i in np.linspace(0, len(rows) - 1, count)]
    return split.loc[sorted(kept)].reset_index(drop=True)


def save_split(split: pd.DataFrame, path: str | Path) -> None:
    """Write a split as CSV, whole or not at all. Raises OutputError."""
    with whole(path) as part:
        split.to_csv(part, index=False)


def load_split(path: str | Path, chipset: ChipSet) -> pd.DataFrame:
    """Read a split and check that it is one of this data set.

    A split made by hand is welcome: its rows may be in any order, and groups may be any that keep apart.

    Returns:
        The columns of `split_by_group`, by chip id.

    Raises:
        DataError: the file is missing or has other columns, a row names a chip that the data set does not
            have or has no labels for, a chip stands twice or is missing, a side has another name, there is
            no train side, or a group is on two sides.
    """
    try:
        table = pd.read_csv(path, dtype=str, keep_default_na=False, index_col=False)
    except (OSError, ValueError) as e:  # pandas' own parser errors are ValueErrors
        found = f"no readable CSV ({one_line(e)})"
        raise DataError(path, found, f"columns {', '.join(COLUMNS)}") from e
    if list(table.columns) != list(COLUMNS):
        raise DataError(path, f"columns {list(table.columns)}", f"{list(COLUMNS)}")
    names = {str(c.id): c.name for c in chipset.labelled()}
    for row in table.itertuples():
        where = f"{path}, line {row.Index + 2}"
        if names.get(row.chip) != row.name:
            expected = f"id and name of a labelled chip of {chipset.root}"
            raise DataError(where, f"chip {row.chip} {row.name!r}", expected)
        if row.side not in SIDES:
            raise DataError(where, f"side {row.side!r}", f"one of {', '.join(SIDES)}")
    twice = table["chip"][table["chip"].duplicated()]
    if len(twice) or len(table) < len(names):
        missing = f"{len(table)} of {len(names)} labelled chips"
        found = f"chip {twice.iloc[0]} twice" if len(twice) else missing
        raise DataError(path, found, "every labelled chip once")
    _check_sides(path, table)
    table["chip"] = table["chip"].astype(int)
    return table.sort_values("chip", ignore_index=True)


def _check_sides(path: str | Path, table: pd.DataFrame) -> None:
    """Check that no group is on two sides and that there is something to train on."""
    count = table.groupby("group")["side"].nunique()
    both = list(count.index[count > 1])
    if both:
        raise DataError(path, f"group {both[0]!r} on {count[both[0]]} sides", "every group on one side")
    if "train" not in set(table["side"]):
        raise DataError(path, "no chip on the train side", "at least one")


def _groups(chipset: ChipSet, least: int) -> pd.DataFrame:
    """Return chip, name, group of the labelled chips by id; at least `least` groups."""
    rows = sorted((c.id, c.name, c.group) for c in chipset.labelled())
    table = pd.DataFrame(rows, columns=["chip", "name", "group"])
    count = table["group"].nunique()
    if count < least:
        kind = "site groups" if chipset.has_groups else "sources"
        found = f"{count} {kind} among {len(table)} labelled chips"
        fix = "cut it into smaller chips or groups (chips --size, --group-by), or give groups by --split FILE"
        raise DataError(chipset.root, found, f"{least} or more to split", fix)
    return table


def _shuffled_sizes(table: pd.DataFrame, seed: int) -> dict[str, int]:
    """Return group -> chips, largest first, groups of one size in an order that depends on the seed."""
    sizes = table["group"].value_counts().sort_index()
    order = np.random.default_rng(seed).permutation(len(sizes))
    return {str(g): int(n) for g, n in sizes.iloc[order].sort_values(ascending=False, kind="stable").items()}


def _assign(sizes: dict[str, int], wanted: dict[str, float]) -> dict[str, str]:
    """Give each group (largest first) to the side that lacks most chips, then fill an empty side.

    The empty side takes the smallest group of the side with the most groups.
    """
    lacking = dict(wanted)
    sides: dict[str, str] = {}
    for group, size in sizes.items():
        sides[group] = max(lacking, key=lambda s: lacking[s])
        lacking[sides[group]] -= size
    for side in wanted:
        if side not in sides.values():
            held = {s: [g for g in sizes if sides[g] == s] for s in wanted}
            sides[max(held.values(), key=len)[-1]] = side
    return sides
