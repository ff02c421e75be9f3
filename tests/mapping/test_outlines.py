"""Outlines of many masks at once: the same as mask by mask, whatever lies beside them."""

import numpy as np
import pytest
import shapely
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st

from rtslib.data.masks import mask_to_polygon
from rtslib.mapping import outlines as module
from rtslib.mapping.outlines import outlines

GRID = Affine(4, 0, -2_000_000, 0, -4, 1_000_000)


@pytest.fixture
def tiny(monkeypatch):
    monkeypatch.setattr(module, "SIDE", 16)
    monkeypatch.setattr(module, "MOST", 9)


def check(masks):
    placed = [GRID @ Affine.translation(7 * i, 3 * i) for i in range(len(masks))]
    for ours, mask, transform in zip(outlines(masks, placed), masks, placed, strict=True):
        theirs = mask_to_polygon(mask, transform)
        assert shapely.equals_exact(ours, theirs) and ours.geom_type == theirs.geom_type


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(0, 30))
def test_each_is_the_outline_of_its_mask(seed, count):
    rng = np.random.default_rng(seed)
    check([rng.random((rng.integers(1, 12), rng.integers(1, 12))) < 0.6 for _ in range(count)])


def test_sheets_that_fill_up_and_masks_larger_than_allowed(tiny):
    check(
        [np.ones((h, w), bool) for h, w in [(3, 9), (9, 3), (9, 9), (9, 9), (2, 12), (5, 1), (1, 5), (20, 20), (9, 8)]]
    )


def test_neighbours_stay_apart_and_holes_and_nothing_are_kept():
    ring, empty = np.ones((5, 5), bool), np.zeros((3, 3), bool)
    ring[2, 2] = False
    found = outlines([ring, ring, empty], [Affine.identity()] * 3)
    assert [f.area for f in found] == [24, 24, 0] and len(found[0].interiors) == 1 and found[2].is_empty
    assert len(outlines([], [])) == 0
