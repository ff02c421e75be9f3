"""Pixel features: constant ground, a step, nodata that does not bleed, turned ground."""

import math

import torch
from hypothesis import given
from hypothesis import strategies as st

from rtslib.models.pixel_features import feature_names, gaussian, pixel_features

SCALES = (1.5, 3.0)


def test_constant_ground_is_its_own_mean_and_has_no_spread():
    """Also at the edge, where half of what is around is missing."""
    values = torch.stack([torch.full((20, 30), 2.0), torch.full((20, 30), -1.0)])
    found = pixel_features(values, torch.ones(20, 30, dtype=torch.bool), SCALES)
    names = feature_names(["a", "b"], SCALES)
    assert found.shape == (10, 20, 30) and names[:4] == ["a", "b", "a mean 1.5", "b mean 1.5"]
    expected = torch.tensor([2.0, -1.0, 2, -1, 0, 0, 2, -1, 0, 0])[:, None, None].expand(-1, 20, 30)
    torch.testing.assert_close(found, expected, atol=2e-3, rtol=1e-5)
    assert [n.split()[1] for n in names[2:]] == ["mean", "mean", "sd", "sd"] * 2


def test_half_of_the_ground_at_another_height():
    """On the edge between -1 and 1 the mean is 0 and the spread 1, whatever the scale; far from it they are the
    ground's own."""
    values = torch.ones(1, 40, 41)
    values[:, :, :20], values[:, :, 20] = -1.0, 0.0
    found = pixel_features(values, torch.ones(40, 41, dtype=torch.bool), SCALES)[:, 20]
    for k, scale in enumerate(SCALES):
        mean, spread = found[1 + 2 * k], found[2 + 2 * k]
        assert abs(mean[20]) < 1e-5
        assert abs(spread[20] - math.sqrt(1 - 1 / (scale * math.sqrt(2 * math.pi)))) < 2e-3  # one column is 0
        assert mean[0] < -0.999 and spread[0] < 0.03


def test_the_gaussian_is_as_wide_as_it_says():
    point = torch.zeros(41, 41)
    point[20, 20] = 1.0
    found = gaussian(point, 3.0)
    assert found[20, 20] == 1.0 and abs(found[20, 23] - math.exp(-0.5)) < 1e-6
    assert abs(found[23, 24] - math.exp(-0.5 * 25 / 9)) < 1e-6


@given(st.sampled_from([0.0, 7.0, -1e6, math.nan, math.inf]), st.integers(0, 2**31))
def test_nodata_never_bleeds(rubbish, seed):
    """Whatever stands there: a void's neighbours have the mean of what is valid, and the void itself has nothing."""
    generator = torch.Generator().manual_seed(seed)
    valid = torch.rand(12, 15, generator=generator) > 0.4
    values = torch.where(valid, 3.0, torch.tensor(rubbish)).expand(2, -1, -1)
    found = pixel_features(values, valid, SCALES)
    assert found[:, ~valid].isnan().all()
    torch.testing.assert_close(found[2:4, valid], torch.full_like(found[2:4, valid], 3.0))
    assert (found[4:6, valid] < 5e-3).all()


def test_turned_ground_has_the_same_features_turned():
    values, valid = torch.randn(2, 16, 24, generator=torch.Generator().manual_seed(0)), torch.ones(16, 24) > 0
    valid[3:7, 5:9] = False
    straight = pixel_features(values, valid, SCALES)
    turned = pixel_features(values.rot90(1, (1, 2)), valid.rot90(), SCALES)
    torch.testing.assert_close(turned, straight.rot90(1, (1, 2)), equal_nan=True, atol=1e-4, rtol=1e-4)
