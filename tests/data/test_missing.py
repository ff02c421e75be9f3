"""Missing modalities: hidden means masked, for every strategy; and who may run without what."""

import numpy as np
import pytest
import torch

from helpers.chip_folders import write_challenge, write_coco
from helpers.models import made_batch, small_config
from rtslib.config import FusionName
from rtslib.data.missing import PARTS, check_absent, draw, hide, part_of
from rtslib.data.opening import open_chips
from rtslib.data.samples import ChipDataset
from rtslib.errors import ConfigError, MissingModalityError
from rtslib.models.build import build_model
from rtslib.training.prediction import predict

ALL = [f for f in FusionName.__args__ if f not in ("trees", "ensemble")]  # tests/models/test_trees.py, test_ensemble.py


def test_halves_are_halves_of_what_is_there():
    shape = (5, 4)
    assert {p: int(part_of(shape, p).sum()) for p in PARTS} == {
        "all": 20,
        "left": 10,
        "right": 10,
        "top": 8,
        "bottom": 8,
    }
    assert not (part_of(shape, "top") & part_of(shape, "bottom")).any()


def test_hiding_takes_pixels_and_validity():
    images, valid = {"rgb": torch.ones(3, 4, 6)}, {"rgb": torch.ones(4, 6, dtype=torch.bool)}
    valid["rgb"][0, 5] = False
    hide(images, valid, {"rgb": "left", "terrain": "all"})
    assert images["rgb"][:, :, :3].sum() == 0 and images["rgb"][:, :, 3:].min() == 1
    assert valid["rgb"].sum() == 11 and set(images) == {"rgb"}
    with pytest.raises(ConfigError, match="hide 'middle' of rgb: choose one of all, left"):
        hide(images, valid, {"rgb": "middle"})


def test_dropout_hides_as_often_as_asked_and_never_everything():
    rng, names = np.random.default_rng(0), ["rgb", "spectral", "terrain"]
    drawn = [draw(names, 0.3, rng) for _ in range(4000)]
    assert all(len(d) < 3 for d in drawn) and all(p in PARTS for d in drawn for p in d.values())
    rate = sum("terrain" in d for d in drawn) / 4000
    assert 0.26 < rate < 0.32
    assert 0.45 < sum(d["rgb"] == "all" for d in drawn if "rgb" in d) / sum("rgb" in d for d in drawn) < 0.55
    assert draw(names, 0.0, rng) == {}


@pytest.mark.parametrize("fusion", ALL)
def test_a_hidden_modality_is_masked_out_and_not_read_as_zeros(fusion):
    """Whatever stands in its pixels, the answer is the same; and it differs from that to a chip of zeros."""
    torch.manual_seed(0)
    model = build_model(small_config(fusion=fusion)).eval()
    with torch.no_grad():
        for name, p in model.named_parameters():
            if "fusion" in name or "patch_embed" in name:
                p.add_(torch.randn_like(p) * 0.05)
    parts = getattr(model, "detectors", {"": model})

    def maps(value, seen):
        batch = made_batch(sizes=((64, 64),), instances=(1,))
        batch["images"]["terrain"][:] = value
        batch["valid"]["terrain"][:] = seen
        with torch.inference_mode():
            if fusion == "decision":
                return torch.cat([x["scores"] for x in model({**batch})])
            return parts[""].fused(batch["images"], batch["valid"])[0]

    gone = maps(0.0, False)
    torch.testing.assert_close(maps(7.0, False), gone)
    if fusion != "decision":
        assert not torch.allclose(maps(0.0, True), gone, atol=1e-4)


@pytest.mark.parametrize("fusion", ALL)
def test_a_half_missing_modality_gives_a_finite_answer(fusion):
    model = build_model(small_config(fusion=fusion, score_thresh=0.0)).eval()
    batch = made_batch()
    for m in ("rgb", "terrain"):
        batch["valid"][m][:, :, :32] = False
    with torch.inference_mode():
        out = model(batch)
    assert all(o["scores"].isfinite().all() and o["masks"].isfinite().all() for o in out)


def test_who_may_run_without_what():
    config = small_config()
    assert check_absent(config, []) == ""
    assert "was not trained for that" in check_absent(config, ["terrain"])
    with pytest.raises(
        MissingModalityError, match="cannot run without its primary modality 'rgb'.*modality_dropout=0.2"
    ):
        check_absent(config, ["rgb"])
    assert "was trained for that" in check_absent(config.updated(modality_dropout=0.2), ["rgb"])
    assert "runs without rgb" in check_absent(config.updated(fusion="decision"), ["rgb"])
    assert "runs without rgb" in check_absent(config.updated(fusion="trees"), ["rgb"])
    with pytest.raises(MissingModalityError, match="without all of them"):
        check_absent(config, ["rgb", "spectral", "terrain"])
    with pytest.raises(ConfigError, match="'radar': the model's modalities are rgb, spectral, terrain"):
        check_absent(config, ["radar"])


def test_a_modality_that_the_data_lacks_can_be_left_out(tmp_path):
    """A model of three modalities on RGB chips: refused, unless it is told to do without the others."""
    chips = open_chips(write_coco(tmp_path / "rgb"))
    modalities = {"rgb": ("red", "green", "blue"), "terrain": ("relative_elevation", "shaded_relief")}
    with pytest.raises(ConfigError, match="relative_elevation"):
        ChipDataset(chips, chips.chips, modalities)
    sample = ChipDataset(chips, chips.chips, modalities, hidden={"terrain": "all"})[0]
    assert sample["images"]["terrain"].shape == (2, 20, 30) and not sample["valid"]["terrain"].any()
    assert sample["valid"]["rgb"].all() and list(sample["images"]) == ["rgb", "terrain"]
    stats = {"modality_mean": {m: [0.0] * len(b) for m, b in modalities.items()},
             "modality_std": {m: [50.0] * len(b) for m, b in modalities.items()}}  # fmt: skip
    config = small_config().updated(modalities={m: list(b) for m, b in modalities.items()}, **stats)
    model = build_model(config)
    assert isinstance(predict(model, chips, chips.chips, hidden={"terrain": "all"}), list)
    with pytest.raises(MissingModalityError):
        predict(model, chips, chips.chips, hidden={"rgb": "all"})


def test_training_samples_lose_modalities_and_others_do_not(tmp_path):
    chips = open_chips(write_challenge(tmp_path / "data", train=3))
    modalities, three = chips.modalities(), chips.labelled()
    dropped = ChipDataset(chips, three, modalities, augment=True, dropout=0.6)
    seen = []
    for epoch in range(8):
        dropped.set_epoch(epoch)
        seen += [{m: bool(v.all()) for m, v in dropped[i]["valid"].items()} for i in range(3)]
    assert any(not all(s.values()) for s in seen)
    dropped.set_epoch(0)
    again = [{m: bool(v.all()) for m, v in dropped[i]["valid"].items()} for i in range(3)]
    assert again == seen[:3]  # by (seed, epoch, index) alone
    whole = ChipDataset(chips, three, modalities, augment=False, dropout=0.6)
    assert all(v.all() for i in range(3) for v in whole[i]["valid"].values())
