"""What keeps a study's chips together: the sites that the data gives, else sources, else how chips look.

A set without site groups has sources at best (`rtslib.data.chips.source_of`). One split goes across them where there
are two or more: it trains on some and tests on others. Cross-validation needs more groups than that: with fewer than
`LEAST_GROUPS` sources, or none known, chips that show the same ground make a group (`rtslib.data.lookalikes`). Their
pairs are looked for once and kept beside the study's runs, under a name by the set's content and the code that finds
them.
"""

from pathlib import Path

import pandas as pd

from rtslib.data import lookalikes as finder
from rtslib.data.chips import ChipSet
from rtslib.data.lookalikes import lookalike_pairs, lookalikes, with_groups
from rtslib.files import save_table, sha256

#: Sources from which on folds are made of them.
LEAST_GROUPS = 10


def grouped(chipset: ChipSet, folds: bool, folder: Path) -> ChipSet:
    """Return a study's data set with the groups that it is split by.

    Args:
        chipset: as opened.
        folds: whether it is for cross-validation.
        folder: where the pairs of look-alikes are kept, of this and of other sets.

    Returns:
        The set itself where its own groups do, else one whose groups are those of `lookalikes`.

    Raises:
        DataError: a chip cannot be read. OutputError: the pairs cannot be written.
    """
    labelled = chipset.labelled()
    groups = len({c.group for c in labelled})
    enough = LEAST_GROUPS if folds else 2
    if chipset.has_groups or enough <= groups < len(labelled):
        return chipset
    return with_groups(chipset, lookalikes(chipset, kept_pairs(chipset, folder)))


def kept_pairs(chipset: ChipSet, folder: Path) -> pd.DataFrame:
    """Return `lookalike_pairs`, found now or before; kept as CSV. Raises DataError, OutputError."""
    path = folder / f"lookalikes-{chipset.fingerprint()[:12]}-{sha256(finder.__file__)[:8]}.csv"
    if not path.exists():
        print(f"{chipset.root.name}: looking for chips that show the same ground; kept in {path.name}")
        save_table(lookalike_pairs(chipset), path)
    return pd.read_csv(path, dtype={"name_a": str, "name_b": str}, keep_default_na=False)
