"""Sites: no two chips of different groups share ground or a slump, wherever they lie."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from rtslib.data.cutting.places import starts_in_sites
from rtslib.data.cutting.sites import connect, name_groups


def boxes(*corners, size=10):
    return np.array([(r, c, r + size, c + size) for r, c in corners])


def test_a_chain_of_overlaps_is_one_group_and_neighbours_that_touch_are_two():
    assert connect(boxes((0, 0), (0, 9), (0, 18), (0, 28)), [[]] * 4).tolist() == [0, 0, 0, 1]


def test_names_and_slumps_tie():
    chips = boxes((0, 0), (0, 50), (0, 100), (0, 150), (0, 200))
    sites = [["b"], ["a"], ["b"], ["c"], ["d", "c"]]
    assert name_groups(chips, sites, [[1], [1], [], [], []], kept_whole=True) == ["b", "b", "b", "c", "c"]
    assert name_groups(chips, sites, [[1], [1], [], [], []]) == ["a", "a", "b", "c", "c"]


def test_slumps_across_every_line_do_not_make_all_squares_one():
    """Eight squares of three chips in a row, a slump across each line between them: no slump is in two groups."""
    chips = boxes(*((0, 10 * k) for k in range(24)))
    slumps = [[k // 3 + (k % 3 == 2)] if k % 3 != 1 else [] for k in range(24)]
    groups = name_groups(chips, [[f"s{k // 3}"] for k in range(24)], slumps)
    assert len(set(groups)) == 8
    for slump in range(9):
        assert len({g for g, on in zip(groups, slumps) if slump in on}) <= 1


@settings(deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 60), st.integers(0, 60), st.sampled_from("abcdef")), min_size=1, max_size=25),
    st.integers(1, 20),
    st.booleans(),
)
def test_no_two_chips_of_different_groups_overlap(chips, size, whole):
    squares = boxes(*((r, c) for r, c, _ in chips), size=size)
    groups = name_groups(squares, [[s] for _, _, s in chips], [[]] * len(chips), whole)
    for i, (r, c, site) in enumerate(chips):
        for j, (q, d, other) in enumerate(chips):
            if abs(r - q) < size and abs(c - d) < size or whole and site == other:
                assert groups[i] == groups[j]


@settings(deadline=None)
@given(st.integers(1, 40), st.integers(0, 30), st.integers(0, 5), st.integers(0, 400))
def test_chips_of_different_squares_share_no_ground_but_at_the_end(size, overlap, more, length):
    overlap = min(overlap, size - 1)
    site, length = size + more * (size - overlap), length + size
    found = starts_in_sites(length, size, overlap, site)
    assert found == sorted(set(found)) and found[0] == 0 and found[-1] == length - size
    seen = np.zeros(length, bool)
    for start in found:
        seen[start : start + size] = True
        assert start // site == (start + size - 1) // site or start == length - size
    assert seen.all()
