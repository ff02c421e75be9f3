"""Sites: chips that share ground or a slump go into one group, and groups are what a set is split by.

Chips tied so make a *clump*, a connected component: each shares ground with another of it, not with all. A clump is of
the site that most of its chips lie in, and the clumps of one site are a group. So no pixel of the ground, and no slump,
lies on two sides of a split, and a slump across the line between two squares takes its clump over that line, not one
square into the other. Sites that stand for more than a place (a field's values, an image) are kept whole instead.
"""

from collections import Counter
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


def name_groups(
    boxes: np.ndarray, sites: Sequence[Sequence[str]], slumps: Sequence[Iterable[int]], kept_whole: bool = False
) -> list[str]:
    """Return the name of each chip's group: of the sites in it the one with most chips, of several the first by name.

    Args:
        boxes: as `connect` has them.
        sites: names of the sites that each chip lies in, one or more.
        slumps: rows of the truth on each chip.
        kept_whole: whether all chips of a site have to be in one group.
    """
    ties: list[list[Hashable]] = [
        [*(("slump", s) for s in on), *(("site", s) for s in names if kept_whole)]
        for names, on in zip(sites, slumps, strict=True)
    ]
    parts = connect(boxes, ties).tolist()
    counts: dict[int, Counter[str]] = {part: Counter() for part in parts}
    for part, names in zip(parts, sites):
        counts[part].update(names)
    best = {part: min(count, key=lambda name: (-count[name], name)) for part, count in counts.items()}
    return [best[part] for part in parts]
