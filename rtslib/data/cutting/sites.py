"""Sites: chips that share ground, a slump or a name go into one group, and groups are what a set is split by.

Groups are the connected components of these ties: each chip shares ground with another of its group, not with all. So
no pixel of the ground, and no slump, lies on two sides of a split.
"""

from collections.abc import Hashable, Iterable, Sequence

import numpy as np
import shapely
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components


def connect(boxes: np.ndarray, ties: Sequence[Iterable[Hashable]]) -> np.ndarray:
    """Return the number of each chip's group, int (n,).

    Args:
        boxes: int (n, 4): first row, first column, end row, end column of each chip on one grid, px.
        ties: what each chip has that binds it to others with the same.
    """
    top, left, bottom, right = np.asarray(boxes, dtype=float).reshape(-1, 4).T
    squares = shapely.box(left + 0.25, top + 0.25, right - 0.25, bottom - 0.25)  # those that only touch share none
    links = [shapely.STRtree(squares).query(squares, predicate="intersects")]
    first: dict[Hashable, int] = {}
    tied = [(first.setdefault(tie, k), k) for k, several in enumerate(ties) for tie in several]
    links.append(np.array(tied, dtype=int).reshape(-1, 2).T)
    a, b = np.concatenate(links, axis=1)
    graph = coo_matrix((np.ones(len(a)), (a, b)), shape=(len(squares), len(squares)))
    return connected_components(graph, directed=False)[1]


def name_groups(boxes: np.ndarray, sites: Sequence[Sequence[str]], slumps: Sequence[Iterable[int]]) -> list[str]:
    """Return the name of each chip's group: the first, in order of names, of the sites in it.

    Args:
        boxes: as `connect` has them.
        sites: names of the sites that each chip lies in, one or more.
        slumps: rows of the truth on each chip.
    """
    ties = [
        [*(("site", s) for s in names), *(("slump", s) for s in on)] for names, on in zip(sites, slumps, strict=True)
    ]
    parts = connect(boxes, ties).tolist()
    first: dict[int, str] = {}
    for part, names in zip(parts, sites):
        first[part] = min([*names, *([first[part]] if part in first else [])])
    return [first[part] for part in parts]
