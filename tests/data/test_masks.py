"""Masks, RLE and polygons: hand-known answers and lossless round trips."""

import json
import warnings

import numpy as np
import pytest
import shapely
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from helpers.rasters import polygon_to_mask
from rtslib.data import masks

any_mask = arrays(bool, array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=14))
step = st.floats(0.2, 40)


@st.composite
def transforms(draw):
    """Any invertible pixel-to-map transform of a well-behaved grid: scaled, rotated, sheared, mirrored."""
    sign = st.sampled_from([-1, 1])
    return (
        Affine.translation(draw(st.floats(-7e6, 7e6)), draw(st.floats(-7e6, 7e6)))
        @ Affine.rotation(draw(st.floats(0, 360)))
        @ Affine.shear(draw(st.floats(-40, 40)))
        @ Affine.scale(draw(step) * draw(sign), draw(step) * draw(sign))
    )


def ring():
    """A 5 x 5 square on 8 x 10 px, top left at row 1, column 2, with one hole of 1 px in its middle."""
    mask = np.zeros((8, 10), dtype=bool)
    mask[1:6, 2:7] = True
    mask[3, 4] = False
    return mask


def test_encode_is_json_with_known_size_box_and_area():
    rle = masks.encode(ring())
    assert rle["size"] == [8, 10] and isinstance(rle["counts"], str)
    assert json.loads(json.dumps(rle)) == rle
    assert masks.rle_area(rle) == 24
    assert masks.rle_bbox(rle) == (2.0, 1.0, 5.0, 5.0)


@pytest.mark.parametrize("bad", [np.zeros((3, 3), np.uint8), np.zeros((3, 3, 1), bool)])
def test_encode_refuses_what_is_no_mask(bad):
    with pytest.raises(ValueError, match="bool"):
        masks.encode(bad)


def test_empty_mask():
    empty = np.zeros((4, 7), dtype=bool)
    rle = masks.encode(empty)
    assert masks.rle_area(rle) == 0 and masks.rle_bbox(rle) == (0, 0, 0, 0)
    assert masks.decode(rle).shape == (4, 7)
    outline = masks.mask_to_polygon(empty)
    assert outline.is_empty and not polygon_to_mask(outline, 4, 7).any()
    assert masks.label_instances(empty) == ([], 0)


@given(any_mask)
@settings(max_examples=100, deadline=None)
def test_rle_round_trip(mask):
    rle = masks.encode(mask)
    back = masks.decode(rle)
    assert back.dtype == bool and np.array_equal(back, mask)
    assert masks.rle_area(rle) == mask.sum()
    if mask.any():
        rows, cols = np.nonzero(mask)
        x, y, w, h = masks.rle_bbox(rle)
        assert (x, y, x + w, y + h) == (cols.min(), rows.min(), cols.max() + 1, rows.max() + 1)


def test_polygons_union_and_cut():
    square = [2, 1, 6, 1, 6, 4, 2, 4]
    over = [5, 3, 20, 3, 20, 20, 5, 20]
    mask = masks.polygons_to_mask([square], 8, 10)
    assert mask.sum() == 12 and mask[1:4, 2:6].all()
    both = masks.polygons_to_mask([square, over], 8, 10)
    expected = mask.copy()
    expected[3:, 5:] = True
    assert np.array_equal(both, expected)
    assert not masks.polygons_to_mask([], 8, 10).any()
    assert not masks.polygons_to_mask([[30, 30, 35, 30, 35, 35]], 8, 10).any()


@pytest.mark.parametrize("bad", [[1, 1, 4, 4], [1, 1, 4, 4, 1, 4, 7], []])
def test_polygons_refuse_short_rings(bad):
    with pytest.raises(ValueError, match="3 or more"):
        masks.polygons_to_mask([bad], 8, 8)


def test_label_rule_is_8_connected_and_at_least_10_px():
    mask = np.zeros((20, 20), dtype=bool)
    mask[0:3, 0:3] = True  # 9 px, and its corner touches the next: one component of 18
    mask[3:6, 3:6] = True
    mask[10:12, 0:5] = True  # 10 px: kept
    mask[15:18, 15:18] = True  # 9 px: dropped
    mask[0, 19] = True  # 1 px: dropped
    found, dropped = masks.label_instances(mask)
    assert [int(m.sum()) for m in found] == [18, 10] and dropped == 2
    assert all(m.dtype == bool and m.shape == (20, 20) for m in found)
    assert found[0][:6, :6].sum() == 18 and found[1][10:12, 0:5].all()


def test_outline_keeps_the_hole_in_pixels_and_on_the_map():
    outline = masks.mask_to_polygon(ring())
    assert outline.geom_type == "Polygon" and len(outline.interiors) == 1
    assert outline.bounds == (2, 1, 7, 6) and outline.area == 24
    north_up = Affine(10, 0, 500_000, 0, -10, 7_800_000)
    on_map = masks.mask_to_polygon(ring(), north_up)
    assert on_map.bounds == (500_020, 7_799_940, 500_070, 7_799_990)
    assert on_map.area == 2400 and len(on_map.interiors) == 1
    assert np.array_equal(polygon_to_mask(on_map, 8, 10, north_up), ring())


def test_corner_touch_gives_a_valid_multipolygon():
    outline = masks.mask_to_polygon(np.eye(3, dtype=bool))
    assert outline.geom_type == "MultiPolygon" and len(outline.geoms) == 3 and outline.is_valid


def test_polygon_to_mask_takes_centres_only():
    box = shapely.box(0.6, 0, 2.4, 1)  # the centre of column 0 is at 0.5, of column 2 at 2.5
    assert polygon_to_mask(box, 1, 4).tolist() == [[False, True, False, False]]


@given(any_mask, transforms())
@settings(max_examples=200, deadline=None)
def test_polygon_round_trip_under_any_transform(mask, transform):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        outline = masks.mask_to_polygon(mask, transform)
        back = polygon_to_mask(outline, *mask.shape, transform)
    assert back.dtype == bool and np.array_equal(back, mask) and outline.is_valid
    assert outline.area == pytest.approx(mask.sum() * abs(transform.determinant), rel=1e-4, abs=1e-6)


@given(any_mask)
@settings(max_examples=200, deadline=None)
def test_outline_is_valid_and_exact_in_pixels(mask):
    outline = masks.mask_to_polygon(mask)
    assert outline.is_valid and outline.area == mask.sum()
    assert outline.is_empty or outline.geom_type in ("Polygon", "MultiPolygon")
