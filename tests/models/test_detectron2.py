"""The second engine: the same answers from detectron2's modules, its loops, its MViT.

What needs detectron2 is skipped where it does not import. `rtslib.benchmarks.parity` measures the same on real sizes.
"""

import importlib
import sys
from pathlib import Path

import pytest
import torch

from helpers.models import SMALL, made_batch, small_config
from rtslib.benchmarks.parity import both_engines, compare_answers, redraw, their_mvit
from rtslib.config import Config
from rtslib.data.opening import open_chips
from rtslib.errors import EngineError, WeightsError
from rtslib.models.build import build_model
from rtslib.models.mvit import MViT
from rtslib.models.names import common_weights, engine_names, fit_weights, renamed, turned
from rtslib.training.runs import Run
from rtslib.training.trainer import train
from rtslib.training.weights import load_model, load_weights

REASON = "detectron2 is not installed"
REAL = Path(__file__).resolve().parents[3] / "shared" / "data"


@pytest.fixture
def d2():
    return pytest.importorskip("detectron2", reason=REASON)


def pair(**knobs):
    """The same redrawn weights in both engines."""
    return both_engines(small_config(**{"score_thresh": 0.0, **knobs}))


def test_without_detectron2_the_error_says_how_to_get_it(monkeypatch):
    for name in [n for n in sys.modules if n.split(".")[0] == "detectron2"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "detectron2", None)
    for name in ("model", "data", "lazyparts"):
        monkeypatch.delitem(sys.modules, f"rtslib.models.detectron2.{name}", raising=False)
    with pytest.raises(EngineError, match="conda-forge, or with pip install.*or set engine=torchvision"):
        build_model(small_config(engine="detectron2"))
    with pytest.raises(EngineError, match="conda-forge"):
        importlib.import_module("rtslib.models.detectron2.lazyparts")


@pytest.mark.parametrize("knobs", [{}, {"head_norm": "BN", "head_convs": 2}, {"fusion": "data", "head_convs": 0}])
def test_names_go_both_ways_and_none_is_left_over(knobs):
    config = small_config(**knobs)
    state = build_model(config).state_dict()
    names = engine_names(config)
    there = renamed(state, names)
    assert len(there) == len(state) and list(renamed(there, turned(names))) == list(state)
    with pytest.raises(WeightsError, match=r"no place for \['extra.weight'\] \(1 in all\)"):
        renamed(state | {"extra.weight": torch.zeros(1)}, names)


@pytest.mark.parametrize("knobs", [{}, {"head_norm": "BN", "head_convs": 2}, {"fusion": "concat_conv"}])
def test_the_engines_have_the_same_weights_and_the_same_maps(d2, knobs):
    ours, theirs = pair(**knobs)
    assert set(theirs.state_dict()) == set(renamed(ours.state_dict(), engine_names(ours.config)))
    back = build_model(ours.config)
    fit_weights(back, common_weights(theirs), "detectron2")
    assert all(torch.equal(a, b) for a, b in zip(back.state_dict().values(), ours.state_dict().values(), strict=True))
    batch = made_batch(sizes=((64, 96), (64, 96)))
    batch["valid"]["terrain"][0, 20:40, :50] = False
    stacked = torch.cat([x.masked_fill(~batch["valid"][m][:, None], torch.nan) for m, x in batch["images"].items()], 1)
    with torch.inference_mode():
        a, b = ours.pyramid(batch["images"], batch["valid"]), theirs.backbone(stacked)
    assert list(b) == ["p2", "p3", "p4", "p5", "p6"]
    for x, y in zip(a.values(), b.values(), strict=True):
        torch.testing.assert_close(x, y, atol=1e-4, rtol=0)
        assert x.std() > 0.01


def check_answers(ours, theirs, batch):
    """Pyramid, proposals, boxes, scores and masks are all compared, and within their limits."""
    rows = list(compare_answers(ours, theirs, batch, ""))
    assert [r.what.split(" (")[0] for r in rows] == [
        "FPN maps", "proposals", "detections: boxes", "detections: scores", "detections: masks",
    ]  # fmt: skip
    assert all(r.max_abs_difference < r.limit <= 1e-3 for r in rows), rows


LEVELS = {"head_norm": "BN", "proposals": 200, "rpn_pre_nms": 50, "max_dets": 200, "nms": 1.0}  # boxes of P2-P6


@pytest.mark.parametrize("side,knobs", [(64, {"roi_sampling": 0}), (64, {"scale": 1.5}), (384, LEVELS)])
def test_the_engines_answer_the_same(d2, side, knobs):
    check_answers(*pair(**knobs), made_batch(sizes=((side, side), (40, 90))))


def test_no_detection_is_no_error(d2):
    _, theirs = pair(score_thresh=1.0)
    with torch.inference_mode():
        found = theirs(made_batch())[0]
    assert found["boxes"].shape == (0, 4) and found["masks"].shape == (0, 64, 64)


def test_sure_proposals_keep_their_order(d2):
    """Float32 sigmoids of logits above 17 are all 1: by them, whole levels would go before better ones."""
    ours, theirs = pair(proposals=85)
    with torch.no_grad():
        ours.rpn.head.cls_logits.bias.fill_(40.0)
    fit_weights(theirs, common_weights(ours), "the default engine")
    check_answers(ours, theirs, made_batch())


def test_masks_are_those_that_detectron2_pastes(d2):
    from detectron2.modeling.postprocessing import detector_postprocess
    from detectron2.structures import Boxes, Instances

    from rtslib.models.pixels import chip_detections

    generator = torch.Generator().manual_seed(0)
    probs = torch.rand(6, 28, 28, generator=generator)
    corner = torch.rand(6, 2, generator=generator) * 60
    boxes = torch.cat([corner, corner + 1 + torch.rand(6, 2, generator=generator) * 60], 1).clamp(max=96)
    boxes[5, 2] = boxes[5, 0]  # no area: both drop it
    theirs = detector_postprocess(
        Instances((96, 96), pred_boxes=Boxes(boxes.clone()), scores=torch.ones(6), pred_masks=probs[:, None]), 96, 96
    )
    ours = chip_detections(boxes, torch.ones(6), probs, (96, 96), Config())
    assert len(ours["boxes"]) == len(theirs) == 5
    assert torch.equal(ours["masks"] >= 0.5, theirs.pred_masks)


@pytest.mark.parametrize("instances,shift", [((2, 1), 0.0), ((2, 0), 0.0), ((0, 0), 0.0), ((2, 1), 30.0)])
def test_losses_and_gradients_are_equal_with_the_same_samples(d2, instances, shift):
    """Both engines draw from the generator in the same order, so one seed makes both choose the same.

    There are fewer anchors than samples asked for; a `shift` moves boxes out of the chip, which leaves some
    empty for the next stage.
    """
    ours, theirs = pair(head_norm="BN", rpn_samples=4000)
    with torch.no_grad():
        ours.heads.stages[0].box.bias[0] += shift
    fit_weights(theirs, common_weights(ours), "the default engine")
    found = []
    for model in (ours, theirs):
        model.train()
        torch.manual_seed(5)
        losses = model(made_batch(instances=instances))
        sum(losses.values()).backward()
        grads = {k: p.grad for k, p in model.named_parameters() if p.grad is not None}
        found.append((losses, grads))
    (a, grads_a), (b, grads_b) = found
    assert set(a) == set(b)
    for k in a:
        torch.testing.assert_close(a[k], b[k], atol=1e-4, rtol=1e-5)
    named = renamed(grads_a, engine_names(ours.config))
    assert set(grads_b) <= set(named)
    for k, g in grads_b.items():
        torch.testing.assert_close(named[k], g, atol=1e-4, rtol=1e-3, msg=k)


@pytest.mark.parametrize("windows", [True, False])
@pytest.mark.parametrize("height,width", [(224, 224), (256, 256), (512, 512), (160, 288)])
def test_our_mvit_is_detectron2s(d2, windows, height, width):
    ours = MViT("nano", windows=windows, like="detectron2").eval()
    redraw(ours)
    theirs = their_mvit(ours, "nano", windows)
    if theirs is None:
        pytest.skip("this detectron2 has no MViT: only its main branch does")
    x = torch.randn(1, 3, height, width, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        for a, b in zip(ours(x), theirs(x).values(), strict=True):
            torch.testing.assert_close(a, b, atol=1e-4, rtol=0)
            assert b.abs().max() > 1


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    from rtslib.synthetic.chips import write_challenge

    folder = tmp_path_factory.mktemp("data") / "synthetic"
    write_challenge(folder, chips=18, size=64, seed=3)
    return folder


def test_a_run_of_one_engine_goes_on_in_the_other(d2, data, tmp_path):
    from rtslib.training.prediction import predict

    chipset = open_chips(data)
    config = Config.make({"modalities": {"rgb": ["red", "green", "blue"]}, **SMALL, "epochs": 1, "score_thresh": 0.0})
    config = config.updated(engine="detectron2", val_every=1, ema=0.9)
    run = train(chipset, tmp_path / "rgb", config, progress=False)
    theirs, found = load_model(Run(run)), Run(run).config
    assert type(theirs).__name__ == "FusedRCNN" and found.engine == "detectron2"
    found.updated(engine="torchvision").save(run / "config.json")
    ours, _ = load_model(Run(run)), Run(run).config
    assert set(load_weights(run / "model.pt")) == set(ours.state_dict())
    a, b = (predict(m, chipset, chipset.chips[:4]) for m in (ours, theirs))
    assert len(a) == len(b) > 0 and [x["segmentation"] for x in a] == [x["segmentation"] for x in b]
    assert max(abs(x["score"] - y["score"]) for x, y in zip(a, b, strict=True)) < 1e-5
    fused = config.updated(modalities={"rgb": config.modalities["rgb"], "spectral": ["nir", "ndvi"]}, ema=0.0)
    second = train(chipset, tmp_path / "fused", fused.updated(freeze_epochs=1), init={"rgb": run}, progress=False)
    a, b = load_weights(run / "model.pt"), load_weights(second / "model.pt")
    assert all(torch.equal(a[k], b[k]) for k in a if k.startswith("backbones."))
    assert not torch.equal(a["fpn.inner_blocks.0.0.weight"], b["fpn.inner_blocks.0.0.weight"])


def test_detectron2s_own_loop_trains_and_evaluates_it(d2, data, tmp_path):
    from detectron2.config import LazyConfig, instantiate
    from detectron2.engine import SimpleTrainer
    from detectron2.evaluation import inference_on_dataset

    import rtslib.models.detectron2.lazyconfig as here  # the file itself, to know where it lies

    cfg = LazyConfig.load(here.__file__)
    knobs = {**SMALL, "batch_size": 2, "seed": 3, "scale": 1.5, "modalities": {"terrain": ["relative_elevation"]}}
    cfg.rts.data = str(data)
    cfg.rts.knobs.update(knobs)
    cfg = LazyConfig.apply_overrides(cfg, [f"train.output_dir={tmp_path}", "rts.knobs.score_thresh=0.0"])
    LazyConfig.save(cfg, str(tmp_path / "config.yaml"))
    model = instantiate(cfg.model)
    cfg.optimizer.params.model = model
    before = {k: v.clone() for k, v in model.state_dict().items()}
    trainer = SimpleTrainer(model, instantiate(cfg.dataloader.train), instantiate(cfg.optimizer))
    trainer.train(0, 2)
    changed = [k for k, v in model.state_dict().items() if not torch.equal(v, before[k])]
    assert any("trunk" in k for k in changed) and any("roi_heads" in k for k in changed)
    assert instantiate(cfg.lr_multiplier)(1.0) == pytest.approx(0.0)
    loader = instantiate(cfg.dataloader.test)
    scores = inference_on_dataset(model, loader, instantiate(cfg.dataloader.evaluator))
    assert {"bbox", "segm"} <= set(scores) and "AP50" in scores["segm"]
    batch = next(iter(loader))
    assert batch[0]["image"].shape == (1, 96, 96) and (batch[0]["height"], batch[0]["width"]) == (64, 64)


@pytest.mark.parametrize("name", ["maxar_rgb", "sentinel_rts"])
def test_the_engines_agree_on_real_chips(d2, name):
    if not (REAL / name).is_dir():
        pytest.skip(f"../shared/data/{name} is not here")
    from rtslib.data.samples import ChipDataset, collate
    from rtslib.data.statistics import band_statistics

    chipset = open_chips(REAL / name)
    chips = [c for c in chipset.chips if c.labelled][:2]
    modalities = {m: list(b) for m, b in chipset.modalities().items()}
    stats = band_statistics(chipset, chips, modalities)
    means, stds = ({m: s[kind] for m, s in stats.items()} for kind in ("mean", "std"))
    ours, theirs = pair(modalities=modalities, modality_mean=means, modality_std=stds, names=("rgb",))
    data = ChipDataset(chipset, chips, modalities)
    check_answers(ours, theirs, collate([data[i] for i in range(len(chips))]))
