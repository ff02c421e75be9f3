"""Training: one folder in, one run folder out; resuming after a kill; stopping on a bad loss."""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from types import SimpleNamespace

import pandas as pd
import pytest
import torch
from torch import nn

from helpers.models import small_config
from helpers.trained import config, data, unimodal  # noqa: F401 (fixtures)
from rtslib.config import Config
from rtslib.data.opening import open_chips
from rtslib.data.splits import load_split
from rtslib.errors import NonFiniteLossError, OutputError, WeightsError
from rtslib.files import read_json
from rtslib.models.build import build_model
from rtslib.models.detector import Detector
from rtslib.models.platt import unplatt
from rtslib.models.strategies import STRATEGIES
from rtslib.models.tta import Turned
from rtslib.training.logs import read_log
from rtslib.training.loop import Lit, averaging_decay, parameter_groups, rate
from rtslib.training.prediction import predict
from rtslib.training.runs import Run
from rtslib.training.trainer import train
from rtslib.training.weights import initialise, load_model, load_weights


def starts(runs):
    """Folders as the runs that a model starts from."""
    return {part: Run(folder) for part, folder in runs.items()}


def test_a_run_folder_holds_what_it_says(data, unimodal):
    run = unimodal / "rgb"
    names = ["config.json", "ledger.csv", "log.csv", "model.pt", "predictions_val.json", "run.json", "split.csv"]
    assert sorted(p.name for p in run.iterdir()) == names
    record = Run(run).record
    assert record["finished"] and record["passes"] == record["chips"]["train"] and record["seed"] == 0
    assert record["data_fingerprint"] == open_chips(data).fingerprint()
    assert record["parameters"] == record["trained_parameters"] > 1e6
    assert {"commit", "dirty", "versions", "hardware", "seconds"} <= set(record)
    rows = read_log(run / "log.csv")
    assert [r["epoch"] for r in rows] == ["0"] and float(rows[0]["loss"]) > 0 and "loss_mask" in rows[0]
    model, found = load_model(Run(run)), Run(run).config
    assert not model.training and found.modality_mean["rgb"] and set(found.modality_mean) == {"rgb"}
    assert all(isinstance(v, torch.Tensor) for v in torch.load(run / "model.pt", weights_only=True).values())


def test_statistics_come_from_the_training_side_only(data, unimodal):
    from rtslib.data.splits import load_split
    from rtslib.data.statistics import band_statistics

    chipset = open_chips(data)
    split = load_split(unimodal / "rgb" / "split.csv", chipset)
    ids = set(split.chip[split.side == "train"])
    assert 0 < len(ids) < len(chipset.chips)
    expected = band_statistics(chipset, [c for c in chipset.chips if c.id in ids], {"rgb": ["red", "green", "blue"]})
    assert Run(unimodal / "rgb").config.modality_mean["rgb"] == expected["rgb"]["mean"]


KILLED = """
import sys
import torch
from rtslib.data.opening import open_chips
from rtslib.config import Config
from rtslib.training.trainer import train
data, out, config, threads = sys.argv[1:]
torch.set_num_threads(int(threads))  # other tests may have changed it in the first process: sums depend on it
train(open_chips(data), out, Config.load(config), progress=False)
"""


def test_a_killed_run_resumes_to_the_same_weights(data, tmp_path):
    wanted = config(data, "rgb", epochs=4)
    whole = train(open_chips(data), tmp_path / "whole", wanted, progress=False)
    wanted.save(tmp_path / "config.json")
    killed = tmp_path / "killed"
    command = [
        sys.executable,
        "-c",
        KILLED,
        str(data),
        str(killed),
        str(tmp_path / "config.json"),
        str(torch.get_num_threads()),
    ]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while not (killed / "last.ckpt").exists():
        assert time.monotonic() < deadline and process.poll() is None
        time.sleep(0.02)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert not Run(killed).record["finished"] and len(read_log(killed / "log.csv")) < 4
    with pytest.raises(OutputError, match="already holds a run"):
        train(open_chips(data), killed, wanted, progress=False)
    train(open_chips(data), killed, wanted, resume=True, progress=False)
    a, b = load_weights(whole / "model.pt"), load_weights(killed / "model.pt")
    assert a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)
    losses = [[row["loss"] for row in read_log(run / "log.csv")] for run in (whole, killed)]
    assert losses[0] == losses[1] and len(losses[0]) == 4
    assert not (killed / "last.ckpt").exists()


def test_a_run_killed_after_its_last_epoch_ends_with_the_averaged_weights(data, tmp_path, monkeypatch):
    wanted = config(data, "rgb", epochs=2)
    whole = train(open_chips(data), tmp_path / "whole", wanted, progress=False)
    with monkeypatch.context() as patch:
        patch.setattr("rtslib.training.trainer.save_weights", lambda *_: (_ for _ in ()).throw(RuntimeError("killed")))
        with pytest.raises(RuntimeError, match="killed"):
            train(open_chips(data), tmp_path / "killed", wanted, progress=False)
    train(open_chips(data), tmp_path / "killed", wanted, resume=True, progress=False)
    a, b = load_weights(whole / "model.pt"), load_weights(tmp_path / "killed" / "model.pt")
    assert all(torch.equal(a[k], b[k]) for k in a)
    assert [r["epoch"] for r in read_log(tmp_path / "killed" / "log.csv")] == ["0", "1"]


def test_a_finished_run_is_recognised_and_another_one_refused(data, unimodal):
    run = unimodal / "rgb"
    before = (run / "model.pt").stat().st_mtime_ns
    train(open_chips(data), run, config(data, "rgb", epochs=1), resume=True, progress=False)
    assert (run / "model.pt").stat().st_mtime_ns == before
    with pytest.raises(OutputError, match="another config, data or split"):
        train(open_chips(data), run, config(data, "rgb", epochs=1, lr=2e-3), resume=True, progress=False)


def test_a_finished_run_that_lost_its_weights_is_trained_again(data, unimodal, tmp_path):
    run = shutil.copytree(unimodal / "terrain", tmp_path / "run")
    before = load_weights(run / "model.pt")
    (run / "model.pt").unlink()
    train(open_chips(data), run, config(data, "terrain", epochs=1), resume=True, progress=False)
    after = load_weights(run / "model.pt")
    assert all(torch.equal(before[k], after[k]) for k in before)


def test_a_folder_with_other_files_is_left_alone(data, tmp_path):
    (tmp_path / "thesis.doc").write_text("years of work")
    with pytest.raises(OutputError, match="not empty"):
        train(open_chips(data), tmp_path, config(data, "rgb", epochs=1), progress=False)
    assert [p.name for p in tmp_path.iterdir()] == ["thesis.doc"]


def test_fine_tuning_starts_from_the_unimodal_runs(data, unimodal, tmp_path):
    runs = {m: unimodal / m for m in ("rgb", "terrain")}
    frozen = config(data, "rgb", "terrain", epochs=1, freeze_epochs=1)
    out = train(open_chips(data), tmp_path / "fused", frozen, init=runs, progress=False)
    fused, rgb, terrain = (load_weights(r / "model.pt") for r in (out, runs["rgb"], runs["terrain"]))
    assert all(torch.equal(fused[k], rgb[k]) for k in rgb if k.startswith("backbones."))
    assert all(torch.equal(fused[k], terrain[k]) for k in terrain if k.startswith("backbones."))
    assert not torch.equal(fused["fpn.inner_blocks.0.0.weight"], rgb["fpn.inner_blocks.0.0.weight"])
    assert (
        fused["fusion.0.asked.terrain.out.weight"].abs().sum() > 0
        and fused["fusion.0.merge.terrain.weight"].abs().sum() > 0
    )
    record = Run(out).record
    assert record["trained_parameters"] < record["parameters"]


def test_initial_weights_that_do_not_fit_are_refused(data, unimodal):
    base = config(data, "rgb", "terrain")
    base = base.updated(
        modality_mean={m: [0.0] * len(b) for m, b in base.modalities.items()},
        modality_std={m: [1.0] * len(b) for m, b in base.modalities.items()},
    )
    runs = {m: unimodal / m for m in ("rgb", "terrain")}
    with pytest.raises(WeightsError, match="none for the primary"):
        initialise(build_model(base), starts({"terrain": runs["terrain"]}))
    with pytest.raises(WeightsError, match="no branch 'rgb'"):
        initialise(build_model(base.updated(fusion="data")), starts(runs))
    with pytest.raises(WeightsError, match="needed is 'terrain' alone"):
        initialise(build_model(base), starts({"rgb": runs["rgb"], "terrain": runs["rgb"]}))
    with pytest.raises(WeightsError, match="do not fit"):
        initialise(build_model(base.updated(fpn_channels=48)), starts(runs))


def test_a_stacked_model_starts_as_its_unimodal_run(data, unimodal):
    """Whatever the other bands show: their kernels start at 0."""
    base = config(data, "rgb", "terrain").updated(fusion="data")
    base = base.updated(
        modality_mean={m: [0.0] * len(b) for m, b in base.modalities.items()},
        modality_std={m: [1.0] * len(b) for m, b in base.modalities.items()},
    )
    model, alone = build_model(base), load_model(Run(unimodal / "rgb"))
    initialise(model, starts({"rgb": unimodal / "rgb"}))
    images = {m: torch.rand(1, len(b), 64, 64) for m, b in base.modalities.items()}
    valid = {m: torch.ones(1, 64, 64, dtype=torch.bool) for m in images}
    images_alone = {"rgb": images["rgb"] * alone.std_rgb + alone.mean_rgb}  # normalisation is each model's own
    with torch.inference_mode():
        stacked = model.eval().pyramid(images, valid)
        expected = alone.pyramid(images_alone, {"rgb": valid["rgb"]})
    assert all(torch.allclose(stacked[k], expected[k], atol=1e-4) for k in expected)
    with pytest.raises(WeightsError, match="needed is 'rgb' alone"):
        initialise(model, starts({"rgb": unimodal / "terrain"}))


def test_unusable_weights_files(tmp_path):
    with pytest.raises(WeightsError, match="no such file"):
        load_weights(tmp_path / "model.pt")
    (tmp_path / "model.pt").write_bytes(b"PK\x03\x04 cut")
    with pytest.raises(WeightsError, match="cannot be read"):
        load_weights(tmp_path / "model.pt")
    torch.save({"evil": os.system}, tmp_path / "model.pt")
    with pytest.raises(WeightsError, match="cannot be read"):
        load_weights(tmp_path / "model.pt")
    torch.save([1], tmp_path / "model.pt")
    with pytest.raises(WeightsError, match="something else"):
        load_weights(tmp_path / "model.pt")


def test_mixed_precision_trains_and_clips(data, tmp_path):
    """What a GPU does by default; here on the CPU."""
    run = Run(train(open_chips(data), tmp_path / "run", config(data, "rgb", epochs=1, precision="bf16-mixed")))
    assert run.finished and all(torch.isfinite(v).all() for v in load_weights(run.weights).values())
    still = train(
        open_chips(data), tmp_path / "still", config(data, "rgb", epochs=1, clip=1e-12, lr=1e-3, weight_decay=0.0)
    )
    moved = train(open_chips(data), tmp_path / "moved", config(data, "rgb", epochs=1, lr=1e-3, weight_decay=0.0))
    biases = [load_weights(r / "model.pt")["fpn.inner_blocks.0.0.bias"].abs().max() for r in (still, moved)]
    assert biases[0] < 0.1 * biases[1]  # AdamW's eps outweighs gradients of 1e-12


def test_training_stops_on_a_non_finite_loss_and_tells_all_losses(data, tmp_path, monkeypatch):
    forward = torch.nn.functional.l1_loss
    monkeypatch.setattr("rtslib.models.rpn.F.l1_loss", lambda *a, **k: forward(*a, **k) * float("nan"))
    with pytest.raises(NonFiniteLossError, match="loss_rpn_box_reg=nan") as caught:
        train(open_chips(data), tmp_path / "run", config(data, "rgb", epochs=1), progress=False)
    assert caught.value.step == 0 and caught.value.losses["loss_objectness"] > 0
    assert not Run(tmp_path / "run").record["finished"] and not (tmp_path / "run" / "model.pt").exists()


def test_validation_is_logged(data, tmp_path):
    out = train(open_chips(data), tmp_path / "run", config(data, "terrain", epochs=3, val_every=2), progress=False)
    said = [r["val_AP50"] for r in read_log(out / "log.csv")]
    assert said[0] == said[2] == "" and 0 <= float(said[1]) <= 1  # an epoch that was not validated says nothing


def test_validation_on_the_way_changes_no_weight_and_counts_as_no_training(data, tmp_path, monkeypatch):
    clock, scored = [0.0], Lit.on_validation_epoch_end
    monkeypatch.setattr("rtslib.training.loop.time", SimpleNamespace(monotonic=lambda: clock[0]))
    monkeypatch.setattr(Lit, "on_validation_epoch_end", lambda self: (clock.append(clock.pop() + 9), scored(self)))
    plain, watched = (
        train(open_chips(data), tmp_path / str(n), config(data, "terrain", epochs=2, val_every=n), progress=False)
        for n in (0, 2)
    )
    ours, theirs = load_weights(plain / "model.pt"), load_weights(watched / "model.pt")
    assert all(torch.equal(ours[k], theirs[k]) for k in ours)
    assert clock == [9.0] and Run(watched).record["seconds"] == 0


def test_schedule_and_groups(data):
    rates = [rate(s, 100, 0.1) for s in range(100)]
    assert rates[0] == 0.1 and rates[9] == 1.0 and max(rates) == 1.0 and 0 < rates[-1] < 0.001
    assert averaging_decay(Config(ema=0.99), 10**6) == 0.99 and averaging_decay(Config(ema=0.99), 100) == 0.9
    base = config(data, "rgb", lr=1.0, backbone_lr=0.1)
    model = build_model(base.updated(modality_mean={"rgb": [0.0] * 3}, modality_std={"rgb": [1.0] * 3}))
    groups = parameter_groups(model)
    assert sum(p.numel() for g in groups for p in g["params"]) == sum(p.numel() for p in model.parameters())
    found = {(round(g["lr"], 3), g["weight_decay"] > 0) for g in groups}
    assert found == {(0.1, True), (0.1, False), (1.0, True), (1.0, False)}
    undecayed = {id(p) for g in groups if not g["weight_decay"] for p in g["params"]}
    assert all(id(p) in undecayed for n, p in model.named_parameters() if "rel_pos" in n or p.ndim == 1)
    Lit(model, 10, None)


def test_what_fuses_has_a_rate_of_its_own():
    model = build_model(small_config(lr=1.0, backbone_lr=0.1, fusion_lr=2.0))
    rates = {id(p): g["lr"] for g in parameter_groups(model) for p in g["params"]}
    parts = {(n.partition(".")[0], rates[id(p)]) for n, p in model.named_parameters()}
    assert parts == {("backbones", 0.1), ("fusion", 2.0), ("fpn", 1.0), ("rpn", 1.0), ("heads", 1.0),
                     ("mask_head", 1.0)}  # fmt: skip


@pytest.mark.parametrize("fusion", STRATEGIES)
def test_no_gate_decays(fusion):
    """A gate of shape (C, 1, 1) has three dimensions, and is a gate all the same."""
    model = build_model(small_config(fusion=fusion))
    decayed = {id(p) for g in parameter_groups(model) if g["weight_decay"] for p in g["params"]}
    names = {n.rpartition(".")[2] for n, p in model.named_parameters() if id(p) in decayed}
    assert names == {"weight"}
    norms = [m for m in model.modules() if isinstance(m, nn.LayerNorm | nn.GroupNorm)]
    assert norms and not any(id(m.weight) in decayed for m in norms)


def test_a_run_says_how_far_its_gates_opened(data, unimodal, tmp_path):
    """What was 0 at the start must have moved; a model of one modality has no gate."""
    runs = {m: unimodal / m for m in ("rgb", "terrain")}
    out = train(open_chips(data), tmp_path / "run", config(data, "rgb", "terrain", epochs=1), init=runs, progress=False)
    said = Run(out).record["gates"]
    zero = [end for start, end in said.values() if start == 0]
    assert zero and min(zero) > 0
    assert Run(unimodal / "rgb").record["gates"] == {}


def test_frozen_backbones_thaw(data, unimodal, tmp_path):
    """Frozen for the first two epochs of three: backbones change, but less than when they train throughout."""
    runs = {m: unimodal / m for m in ("rgb", "terrain")}
    moved = {}
    for freeze in (0, 2, 3):
        wanted = config(data, "rgb", "terrain", epochs=3, freeze_epochs=freeze, ema=0.0, drop_path=0.0)
        out = train(open_chips(data), tmp_path / str(freeze), wanted, init=runs, progress=False)
        now, then = load_weights(out / "model.pt"), load_weights(runs["terrain"] / "model.pt")
        moved[freeze] = sum(float((now[k] - then[k]).abs().sum()) for k in then if k.startswith("backbones."))
        record = Run(out).record
        assert (record["trained_parameters"] < record["parameters"]) == (freeze == 3)
    assert moved[0] > moved[2] > moved[3] == 0


def test_all_weights_of_a_run_of_the_same_make(data, unimodal, tmp_path):
    """Every weight but the normalisation, which is of the new data."""
    other = config(data, "rgb").updated(modality_mean={"rgb": [7.0] * 3}, modality_std={"rgb": [2.0] * 3})
    model, source = build_model(other), load_weights(unimodal / "rgb" / "model.pt")
    initialise(model, starts({"all": unimodal / "rgb"}))
    state = model.state_dict()
    assert all(torch.equal(state[k], source[k]) for k in source if not k.startswith(("mean_", "std_")))
    assert state["mean_rgb"].flatten().tolist() == [7.0] * 3 and not torch.equal(state["mean_rgb"], source["mean_rgb"])
    out = train(
        open_chips(data), tmp_path / "on", config(data, "rgb", epochs=1), init={"all": unimodal / "rgb"}, progress=False
    )
    assert (out / Run(out).record["init"]["all"]).resolve() == (unimodal / "rgb").resolve()
    with pytest.raises(WeightsError, match="to start from all of it, train the same"):
        initialise(build_model(other), starts({"all": unimodal / "terrain"}))
    with pytest.raises(WeightsError, match="do not fit"):
        initialise(build_model(other.updated(fpn_channels=48)), starts({"all": unimodal / "rgb"}))


def test_a_log_gets_a_line_an_epoch(data, tmp_path, capsys):
    train(open_chips(data), tmp_path / "run", config(data, "rgb", epochs=2, workers=1, val_every=2))
    first, second = capsys.readouterr().err.splitlines()
    assert re.fullmatch(r"run, epoch 1 of 2: loss \d+\.\d{3}", first)
    assert re.fullmatch(r"run, epoch 2 of 2: loss \d+\.\d{3}, AP50 [01]\.\d{3} on validation chips", second)


def test_knobs_of_a_finished_run_bring_no_calibration_along(data, tmp_path, monkeypatch):
    """`train --config RUN/config.json` is the same training as the run's."""
    monkeypatch.setattr("rtslib.training.calibrating.fit_platt", lambda scores, right: (1 + float(max(scores)), 0.5))
    chips, knobs = open_chips(data), config(data, "rgb", epochs=1, score_thresh=0.0, val_fraction=0.4)
    first = Run(train(chips, tmp_path / "first", knobs, progress=False))
    again = Run(
        train(chips, tmp_path / "again", first.config.updated(temperature=3.0, score_shift=2.0), progress=False)
    )
    assert again.config == first.config and "fitted on" in again.record["calibration"]
    kept, anew = (read_json(run.predictions("val")) for run in (first, again))
    assert kept == anew


def test_scores_are_calibrated_on_the_validation_side(data, tmp_path, monkeypatch):
    """The numbers are kept with the run and scale what the loaded model says; without a side there are none."""
    monkeypatch.setattr("rtslib.training.calibrating.fit_platt", lambda scores, right: (2.0, 0.5))
    run = train(open_chips(data), tmp_path / "run", config(data, "terrain", epochs=1, score_thresh=0.0), progress=False)
    model, found = load_model(Run(run)), Run(run).config
    assert found.temperature == 2.0 and "temperature 2.000, shift 0.500, fitted on" in Run(run).record["calibration"]
    chips = open_chips(data)

    scaled = [r["score"] for r in predict(model, chips, chips.chips[:2])]
    split = load_split(run / "split.csv", chips)
    val = [c for c in chips.chips if c.id in set(split["chip"][split["side"] == "val"])]
    for kept, anew in zip(read_json(run / "predictions_val.json"), predict(model, chips, val), strict=True):
        assert kept["segmentation"] == anew["segmentation"] and kept["score"] == pytest.approx(anew["score"], abs=1e-6)
    model.config = found.updated(temperature=1.0, score_shift=0.0)
    plain = torch.tensor([r["score"] for r in predict(model, chips, chips.chips[:2])])
    torch.testing.assert_close(torch.tensor(scaled), (torch.logit(plain) / 2 + 0.5).sigmoid(), atol=1e-5, rtol=1e-4)
    rows = pd.read_csv(Run(run).ledger)
    assert set(rows["chip"]) <= {c.id for c in val} and rows["score"].notna().any()
    assert rows["right"].sum() + rows["score"].isna().sum() == sum(len(chips.instances[c.id]) for c in val)
    alone = train(chips, tmp_path / "alone", config(data, "terrain", epochs=1, val_fraction=0.0), progress=False)
    assert not (alone / "predictions_val.json").exists() and not Run(alone).ledger.exists()
    assert Run(alone).config.temperature == 1.0 and "no validation side" in Run(alone).record["calibration"]


def test_a_run_that_sees_chips_turned_is_calibrated_so(data, tmp_path, monkeypatch):
    """It trains as others do; the model that is loaded is turned and says on validation chips what the run has kept."""
    fitted = []
    monkeypatch.setattr("rtslib.training.calibrating.fit_platt", lambda *rows: fitted.append(rows) or (2.0, 0.5))
    chips, knobs = open_chips(data), config(data, "terrain", epochs=1, score_thresh=0.0, val_fraction=0.4)
    plain = Run(train(chips, tmp_path / "plain", knobs, progress=False))
    run = Run(train(chips, tmp_path / "turned", knobs.updated(tta=True), progress=False))
    weights = [load_weights(r.weights) for r in (plain, run)]
    assert list(weights[0]) == list(weights[1]) and all(weights[0][k].equal(weights[1][k]) for k in weights[0])
    model, bare = load_model(run), load_model(run, bare=True)
    assert isinstance(model, Turned) and not model.training and not model.model.training
    assert isinstance(bare, Detector) and bare.config == run.config == model.config and run.config.temperature == 2.0
    split = load_split(run.folder / "split.csv", chips)
    val = [c for c in chips.chips if c.id in set(split["chip"][split["side"] == "val"])]
    kept = read_json(run.predictions("val"))
    assert len(kept) and kept != read_json(plain.predictions("val"))
    for a, b in zip(kept, predict(model, chips, val), strict=True):
        assert a["segmentation"] == b["segmentation"] and a["score"] == pytest.approx(b["score"], abs=1e-6)
    raw = [unplatt(torch.tensor([r["score"] for r in kept]), 2.0, 0.5), torch.tensor(fitted[1][0])]
    torch.testing.assert_close(*(x.sort().values.float() for x in raw), atol=1e-5, rtol=1e-4)
    assert plain.record["parameters"] == run.record["parameters"] and plain.record["key"] != run.record["key"]


def test_scores_are_calibrated_where_the_model_trained(data, tmp_path, monkeypatch):
    """Lightning leaves the model on the CPU; on a machine with a GPU the validation side took minutes there."""
    seen = []

    def spy(model, chipset, chips):
        seen.append(next(model.parameters()).device.type)
        return []

    monkeypatch.setattr("rtslib.training.trainer.best_device", lambda: "meta")
    monkeypatch.setattr("rtslib.training.calibrating.predict", spy)
    train(open_chips(data), tmp_path / "run", config(data, "rgb", epochs=1, val_fraction=0.4), progress=False)
    assert seen == ["meta"]
