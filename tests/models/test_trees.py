"""Trees on pixels: they answer as scikit-learn's, and from an obvious ground to the instances on it."""

import numpy as np
import pytest
import torch
from sklearn.ensemble import HistGradientBoostingClassifier

from helpers.models import made_batch, small_config, stump
from rtslib.errors import ConfigError, TrainingError, WeightsError
from rtslib.models.build import build_model
from rtslib.models.names import fit_weights
from rtslib.models.platt import platt
from rtslib.models.trees import Trees

ONE = {"names": ("terrain",), "fusion": "trees", "tree_scales": [2.0], "score_thresh": 0.0}


def bright(**knobs):
    """A model that takes what stands out by more than 1 in the first band of terrain for a slump."""
    model = Trees(small_config(**{**ONE, **knobs})).eval()
    model.fill([stump()], 0.0)
    return model


def ground(*squares, size=40):
    """A batch of one chip of zeros with squares (row, column, side) of 2."""
    batch = made_batch(("terrain",), sizes=((size, size),), instances=(0,))
    batch["images"]["terrain"][:] = 0
    for r, c, side in squares:
        batch["images"]["terrain"][0, :, r : r + side, c : c + side] = 2
    return batch


def test_what_hangs_together_is_an_instance():
    (found,) = bright()(ground((5, 10, 10), (25, 20, 4), (35, 1, 3)))  # the last one has 9 px
    assert found["boxes"].tolist() == [[10, 5, 20, 15], [20, 25, 24, 29]] and found["labels"].tolist() == [1, 1]
    p = torch.tensor(4.0).sigmoid()
    expected = p * (1 - torch.exp(-torch.tensor([100.0, 16]) / 10))
    torch.testing.assert_close(found["scores"], expected)
    assert found["masks"].shape == (2, 40, 40) and (found["masks"] >= 0.5).sum((1, 2)).tolist() == [100, 16]
    inside = (torch.logit(p) - torch.logit(torch.tensor(0.7))).sigmoid()  # 0.5 is where p is the threshold
    torch.testing.assert_close(found["masks"][0, 5, 10], inside)
    assert found["masks"].dtype == torch.float32


def test_the_threshold_is_where_masks_are_a_half():
    """Two squares whose probability is 0.7 and 0.9."""
    model = bright()
    logit = lambda p: float(np.log(p / (1 - p)))  # noqa: E731
    model.fill([stump(cut=1.0, low=-9.0, high=logit(0.7)), stump(cut=2.5, low=0, high=logit(0.9) - logit(0.7))], 0.0)
    batch = ground((5, 5, 10), (5, 25, 10))
    batch["images"]["terrain"][0, :, 5:15, 25:35] = 3
    for threshold, count in ((0.6, 2), (0.8, 1), (0.95, 0)):
        model.config = model.config.updated(tree_threshold=threshold)
        (found,) = model(batch)
        assert len(found["scores"]) == count
    model.config = model.config.updated(tree_threshold=0.7 - 1e-6)
    (found,) = model(batch)
    at = found["masks"][:, 10, [30, 10]].diag()
    torch.testing.assert_close(at, torch.tensor([27 / 34, 0.5]), atol=1e-4, rtol=1e-4)  # odds 9 over odds 7/3
    assert found["boxes"].tolist() == [[25, 5, 35, 15], [5, 5, 15, 15]]  # best first


def test_most_detections_least_score_and_calibration_are_the_configs():
    batch = ground((5, 5, 10), (5, 25, 8), (25, 5, 6))
    every = bright()(batch)[0]["scores"]
    assert len(bright(max_dets=2)(batch)[0]["scores"]) == 2
    assert len(bright(score_thresh=float(every[1]) - 1e-6)(batch)[0]["scores"]) == 2
    scaled = bright(temperature=2.0, score_shift=-1.0)(batch)[0]["scores"]
    torch.testing.assert_close(scaled, platt(every, 2.0, -1.0))


def test_a_void_is_no_ground_for_a_slump():
    batch = ground((5, 10, 10))
    batch["valid"]["terrain"][:, :, :15] = False
    (found,) = bright()(batch)
    assert (found["masks"] > 0).sum() == 50 and found["boxes"].tolist() == [[15, 5, 20, 15]]
    batch["valid"]["terrain"][:] = False
    (found,) = bright()(batch)
    assert found["boxes"].shape == (0, 4) and found["masks"].shape == (0, 40, 40) and not len(found["scores"])


def test_a_hidden_modality_is_a_gap_and_its_pixels_are_not_read():
    """Trees of three modalities: without terrain, their answer does not hang on what stands there."""
    model = Trees(small_config(fusion="trees", tree_scales=[2.0], score_thresh=0.0)).eval()
    terrain = 2 * 3 * 3  # rgb and spectral have three features a band
    model.fill([stump(feature=terrain, high=2.0, low=-2.0), stump(high=3.0, low=-1.0)], 0.0)
    answers = []
    for value in (0.0, 7.0, float("nan")):
        batch = made_batch(sizes=((64, 64),), instances=(1,))
        batch["images"]["terrain"][:], batch["valid"]["terrain"][:] = value, False
        answers.append(model.probabilities(batch)[0])
    assert torch.equal(answers[0], answers[1]) and torch.equal(answers[0], answers[2])
    assert answers[0].unique().tolist() == pytest.approx(torch.tensor([-3.0, 1.0]).sigmoid().tolist())  # gaps go left


def test_a_chip_does_not_depend_on_its_batch():
    model = bright()
    small, large = ground((5, 10, 10)), ground((5, 10, 10), (50, 50, 10), size=64)
    both = {k: {"terrain": large[k]["terrain"].repeat(2, *[1] * (large[k]["terrain"].ndim - 1))}
            for k in ("images", "valid")}  # fmt: skip
    for k in both:
        both[k]["terrain"][0] = 99 if k == "images" else False
        both[k]["terrain"][0, ..., :40, :40] = small[k]["terrain"][0]
    found = model({**both, "sizes": [(40, 40), (64, 64)]})
    for one, alone in zip(found, (model(small)[0], model(large)[0]), strict=True):
        assert all(torch.equal(one[k], alone[k]) for k in alone)


@pytest.fixture(scope="module")
def fitted():
    """Trees of scikit-learn on random features with gaps, and the features (n, 10)."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(4000, 10)).round(1).astype(np.float32)  # equal values lie on cuts
    y = x[:, 0] * x[:, 1] + x[:, 2] > 0.3
    x[rng.random(x.shape) < 0.2] = np.nan
    knobs = {"max_iter": 30, "max_leaf_nodes": 9, "early_stopping": False}
    return HistGradientBoostingClassifier(**knobs, random_state=0).fit(x, y), x


def filled(fitted, **knobs):
    model = Trees(small_config(("terrain",), fusion="trees", tree_scales=[2.0, 4], tree_leaves=9, **knobs)).eval()
    model.fill([t.nodes for (t,) in fitted._predictors], fitted._baseline_prediction.item())
    return model


def test_they_answer_as_those_that_were_fitted(fitted):
    trees, x = fitted
    model = filled(trees, tree_rounds=40)  # more rows than trees: what is left over adds nothing
    assert model.features == x.shape[1]
    for part in (x, x[~np.isnan(x).any(1)], x[:0]):
        margin = model.margin(torch.from_numpy(part.T.copy()))
        assert margin.dtype == torch.float64 and len(margin) == len(part)
        if len(part):
            np.testing.assert_allclose(margin.numpy(), trees.decision_function(part), atol=1e-12)
    nodes = sum(len(t.nodes) for (t,) in trees._predictors)
    assert model.fitted_numbers == nodes + 10  # each of the rows that are left over is a leaf


def test_a_cut_between_two_float32_values_parts_them(fitted):
    """HistGradientBoosting's cuts are float64; 1 and the next float32 go different ways, though both round to it."""
    model, after = bright(), np.nextafter(np.float32(1), np.float32(2))
    model.fill([stump(cut=(1 + float(after)) / 2)], 0.0)
    pixels = torch.zeros(model.features, 2)
    pixels[0] = torch.tensor([1.0, after])
    assert model.margin(pixels).tolist() == [-4, 4]


def test_weights_go_to_disk_and_back_without_pickle(fitted, tmp_path):
    model = filled(fitted[0], tree_rounds=30)
    torch.save(model.state_dict(), tmp_path / "model.pt")
    state = torch.load(tmp_path / "model.pt", weights_only=True)
    again = build_model(model.config)
    fit_weights(again, state, "model.pt")
    assert isinstance(again, Trees) and not list(again.parameters())
    x = torch.from_numpy(fitted[1].T.copy())
    assert torch.equal(again.margin(x), model.margin(x))
    with pytest.raises(WeightsError, match="do not fit"):
        fit_weights(build_model(model.config.updated(tree_leaves=10)), state, "model.pt")
    for name, wrong in (("feature", -1), ("feature", 99), ("left", -1), ("left", 99), ("right", 17), ("left", 0)):
        bad = {k: v.clone() for k, v in state.items()}
        bad[name][0, 0] = wrong  # the last one would be a circle
        with pytest.raises(WeightsError, match=f"trees: {name} of some node is none that can be"):
            fit_weights(build_model(model.config), bad, "model.pt")


def test_what_trees_cannot_do_is_refused():
    for knobs in ({"engine": "detectron2"}, {"pretrained": True}, {"zoo": "coco.pkl"}):
        with pytest.raises(ConfigError, match="fusion=trees has no network"):
            build_model(small_config(fusion="trees", **knobs))
    with pytest.raises(ConfigError, match="no usable modality_mean"):
        build_model(small_config(fusion="trees", modality_mean={}))
    with pytest.raises(TrainingError, match="trees learn no step by step"):
        Trees(small_config(fusion="trees")).train()(made_batch())


def test_one_modality_is_enough():
    assert isinstance(build_model(small_config(**ONE)), Trees)
    assert not build_model(small_config(**ONE)).backbones
