"""detectron2 checkpoints: reading without running their code, names, 80-class heads, what does not fit."""

import logging
import os
import pickle

import numpy as np
import pytest
import torch

from helpers.models import made_batch, small_config
from rtslib.errors import WeightsError
from rtslib.models.build import build_model
from rtslib.models.mvit import SIZES, MViT
from rtslib.models.names import common_weights, engine_names, mvit_names, renamed, turned
from rtslib.models.zoo import load_zoo, read_checkpoint

COCO = {"head_norm": "BN", "mvit_like": "detectron2"}


def zoo_state(seed=1, **knobs):
    """The state dict of a file of the zoo, with the small model's widths: names as detectron2 has them."""
    torch.manual_seed(seed)
    ours = common_weights(build_model(small_config(("rgb",), **COCO, **knobs)))
    ours = {k: v for k, v in ours.items() if not k.startswith(("mean_", "std_"))}
    prefix, size = "backbones.rgb.", knobs.get("backbone", "nano")
    branch = {k.removeprefix(prefix): torch.randn(v.shape) for k, v in ours.items() if k.startswith(prefix)}
    rest = {k: torch.randn(v.shape) for k, v in ours.items() if not k.startswith(prefix)}
    state = {f"backbone.bottom_up.{k}": v for k, v in renamed(branch, mvit_names(size)).items()}
    state |= renamed(rest, engine_names(small_config(("rgb",), **COCO, **knobs)))
    for k in range(3):
        state[f"roi_heads.box_predictor.{k}.cls_score.weight"] = torch.randn(81, 32)
        state[f"roi_heads.box_predictor.{k}.cls_score.bias"] = torch.randn(81)
    state["roi_heads.mask_head.predictor.weight"] = torch.randn(80, 32, 1, 1)
    state["roi_heads.mask_head.predictor.bias"] = torch.randn(80)
    return state


def write_pkl(path, state, protocol=4, **more):
    arrays = {k: v.numpy() for k, v in state.items()}
    with open(path, "wb") as f:
        pickle.dump({"model": arrays, "__author__": "Detectron2 Model Zoo", **more}, f, protocol)
    return path


def test_a_zoo_file_gives_backbone_pyramid_and_heads(tmp_path, caplog):
    state = zoo_state()
    extra = {"pixel_mean": torch.ones(3, 1, 1), "roi_heads.keypoint_head.weight": torch.ones(2)}
    path = write_pkl(tmp_path / "cascade_mask_rcnn_mvitv2_t.pkl", state | extra, iteration=67499)
    model = build_model(small_config(("rgb",), **COCO))
    with caplog.at_level(logging.INFO, logger="rtslib.models.zoo"):
        done = load_zoo(model, path)
    heads = {f"roi_heads.box_predictor.{k}.cls_score.{w}" for k in range(3) for w in ("weight", "bias")}
    heads |= {f"roi_heads.mask_head.predictor.{w}" for w in ("weight", "bias")}
    assert set(done.dropped) == heads and done.unmatched == ["roi_heads.keypoint_head.weight"]
    assert set(done.taken) == set(state) - heads
    named = {"heads.stages.0.cls.bias", "heads.stages.2.cls.weight", "mask_head.logit.bias", "mean_rgb", "std_rgb"}
    assert named < set(done.untouched) and len(done.untouched) == 10
    assert "cls_score" in caplog.text and "nothing here for: roi_heads.keypoint_head.weight" in caplog.text
    own = common_weights(model)
    assert torch.equal(own["backbones.rgb.stages.0.blocks.0.attn.qkv.weight"],
                       state["backbone.bottom_up.blocks.0.attn.qkv.weight"])  # fmt: skip
    assert torch.equal(own["fpn.layer_blocks.3.0.bias"], state["backbone.fpn_output5.bias"])
    assert torch.equal(own["mask_head.convs.1.running_var"], state["roi_heads.mask_head.mask_fcn1.norm.running_var"])
    assert torch.equal(own["heads.stages.1.box.weight"], state["roi_heads.box_predictor.1.bbox_pred.weight"])


def test_every_branch_starts_from_it_whatever_its_bands(tmp_path):
    state = zoo_state()
    path = write_pkl(tmp_path / "m.pkl", state)
    model = build_model(small_config(**COCO, zoo=str(path)))
    kernel = state["backbone.bottom_up.patch_embed.proj.weight"]
    assert torch.equal(model.backbones["spectral"].patch_embed.proj.weight, kernel)
    torch.testing.assert_close(model.backbones["terrain"].patch_embed.proj.weight, kernel[:, :2] * 1.5)
    norm = state["backbone.bottom_up.scale5_norm.weight"]
    assert all(torch.equal(b.norm.weight, norm) for b in model.backbones.values())


@pytest.mark.parametrize("kind", ["protocol 2", "protocol 5", "tensors", "pth"])
def test_all_ways_of_writing_it_are_read(tmp_path, kind):
    state = {"a": torch.arange(6.0).reshape(2, 3), "n": torch.tensor(7)}
    path = tmp_path / ("m.pth" if kind == "pth" else "m.pkl")
    if kind == "pth":
        torch.save({"model": state, "optimizer": {"step": 3}, "iteration": 9}, path)
    elif kind == "tensors":
        path.write_bytes(pickle.dumps({"model": state, "iteration": 9}))
    else:
        write_pkl(path, state, int(kind[-1]), best=np.float64(0.5))
    found = read_checkpoint(path)
    assert set(found) == {"a", "n"} and all(torch.equal(found[k], state[k]) for k in state)


class Evil:
    def __reduce__(self):
        return os.mkdir, (self.where,)


def test_pickled_code_is_not_run(tmp_path):
    evil = Evil()
    evil.where = str(tmp_path / "was_here")
    plain = pickle.dumps({"model": {"a": np.ones(2)}, "trainer": evil})
    torch.save({"model": {}, "trainer": evil}, tmp_path / "inner.pth")
    inner = (tmp_path / "inner.pth").read_bytes()

    class Inner:
        def __reduce__(self):
            return torch.storage._load_from_bytes, (inner,)

    for name, content in {"plain": plain, "nested": pickle.dumps({"model": {"a": Inner()}})}.items():
        (tmp_path / f"{name}.pkl").write_bytes(content)
        with pytest.raises(WeightsError, match="cannot be read as a detectron2 checkpoint"):
            read_checkpoint(tmp_path / f"{name}.pkl")
    with pytest.raises(WeightsError, match="cannot be read"):
        read_checkpoint(tmp_path / "inner.pth")
    assert not (tmp_path / "was_here").exists()


@pytest.mark.parametrize(
    "content,said",
    [
        (b"", "cannot be read"),
        (b"PK\x03\x04", "cannot be read"),
        (pickle.dumps([1]), "no model of named arrays"),
        (pickle.dumps({"blobs": {"conv1_w": np.ones(2)}}), "no model of named arrays"),
        (pickle.dumps({"model": {"a": "text"}}), "no model of named arrays"),
        (pickle.dumps({"model": {"a": np.array(["text"])}}), "m.pkl: "),
    ],
)
def test_files_that_are_no_checkpoint(tmp_path, content, said):
    (tmp_path / "m.pkl").write_bytes(content)
    with pytest.raises(WeightsError, match=said):
        read_checkpoint(tmp_path / "m.pkl")
    with pytest.raises(WeightsError, match="no such file"):
        read_checkpoint(tmp_path / "none.pkl")


def test_what_does_not_fit_is_refused_or_listed(tmp_path):
    path = write_pkl(tmp_path / "m.pkl", zoo_state())
    with pytest.raises(WeightsError, match="need mvit_like=detectron2"):
        build_model(small_config(("rgb",), zoo=str(path)))
    with pytest.raises(WeightsError, match="does not fit backbone tiny"):
        build_model(small_config(("rgb",), **COCO, backbone="tiny", zoo=str(path)))
    model = build_model(small_config(("rgb",), **{**COCO, "head_norm": "GN"}))
    done = load_zoo(model, path)
    assert done.unmatched and all("norm.running" in k or "num_batches" in k for k in done.unmatched)
    wide = load_zoo(build_model(small_config(("rgb",), **COCO, fpn_channels=48)), path)
    assert "backbone.fpn_lateral2.weight" in wide.unmatched and not [k for k in wide.unmatched if "bottom_up" in k]


@pytest.mark.parametrize("size", ["nano", "tiny", "small", "base"])
def test_backbone_names_go_both_ways_and_none_is_left_over(size):
    with torch.device("meta"):
        state = MViT(size).state_dict()
    there = renamed(state, mvit_names(size))
    assert list(renamed(there, turned(mvit_names(size)))) == list(state) and len(there) == len(state)
    blocks = {int(k.split(".")[1]) for k in there if k.startswith("blocks.")}
    assert blocks == set(range(sum(SIZES[size].depths)))
    with pytest.raises(WeightsError, match=r"no place for \['pos_embed'\]"):
        renamed({"pos_embed": torch.ones(1)}, turned(mvit_names(size)))


def test_branches_that_are_no_mvit_are_refused(tmp_path):
    model = build_model(small_config(("rgb",), backbone="lite0", mvit_like="detectron2"))
    with pytest.raises(WeightsError, match="branches are lite0: set backbone=tiny"):
        load_zoo(model, tmp_path / "any.pkl")


def test_large_is_refused():
    with pytest.raises(WeightsError, match="large"):
        mvit_names("large")


@pytest.mark.parametrize("writer", ["pth", "pkl"])
def test_a_file_that_detectron2s_checkpointer_wrote(tmp_path, writer):
    """The model written is all detectron2's: its MViT, FPN, RPN and heads; ours then answers the same."""
    pytest.importorskip("detectron2", reason="detectron2 is not installed")
    from rtslib.benchmarks.parity import both_engines, compare_answers, their_mvit

    config = small_config(("rgb",), **COCO, score_thresh=0.0)
    ours, theirs = both_engines(config, seed=3)
    theirs.backbone.bottom_up = their_mvit(ours.backbones["rgb"], "nano")
    if theirs.backbone.bottom_up is None:
        pytest.skip("this detectron2 has no MViT: only its main branch does")
    from detectron2.checkpoint import DetectionCheckpointer

    checkpointer = DetectionCheckpointer(theirs, str(tmp_path))
    checkpointer.save("model_final", iteration=10)
    path = tmp_path / "model_final.pth"
    if writer == "pkl":
        path = write_pkl(tmp_path / "model_final.pkl", theirs.state_dict())
        assert set(checkpointer._load_file(str(path))["model"]) == set(theirs.state_dict())  # as a file of its zoo
    fresh = build_model(config)
    done = load_zoo(fresh, path)
    assert done.dropped == done.unmatched == [] and set(done.untouched) == {"mean_rgb", "std_rgb"}
    batch = made_batch(("rgb",), sizes=((64, 96),), instances=(1,))
    rows = list(compare_answers(fresh.eval(), theirs, batch, ""))
    assert len(rows) == 5 and all(r.max_abs_difference < r.limit for r in rows), rows
