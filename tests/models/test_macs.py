"""Multiply-adds: how they grow."""

import pytest

from helpers.models import small_config
from rtslib.models.macs import pyramid_macs


def test_macs_grow_with_area_and_with_branches():
    one, three = (pyramid_macs(small_config(names), 64) for names in (("rgb",), ("rgb", "spectral", "terrain")))
    assert 2 * one < three < 6 * one
    assert 3.5 < pyramid_macs(small_config(("rgb",)), 128) / one < 6  # global attention grows faster than area
    late = pyramid_macs(small_config(fusion="decision"), 64)
    assert late == pytest.approx(3 * one, rel=0.01)


def test_what_has_no_network_has_no_multiply_adds_to_count():
    assert pyramid_macs(small_config(fusion="trees"), 64) is None
