"""The notebooks' steps: preparing, recognising finished runs, scoring; and their tables and figures."""

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

import rtslib.config
from rtslib.config import Config
from rtslib.data import tables
from rtslib.data.masks import encode
from rtslib.errors import ConfigError, DataError, OutputError
from rtslib.figures import examples
from rtslib.files import write_json
from rtslib.study import scores as runscores
from rtslib.study import study
from rtslib.training import identity as runkeys

TINY = {
    "backbone": "nano", "fpn_channels": 16, "head_channels": 16, "head_fc": 32, "head_convs": 0,
    "proposals": 20, "rpn_samples": 16, "roi_samples": 8, "batch_size": 6, "epochs": 1,
}  # fmt: skip


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """A tiny landscape of 18 chips at three sites or more, opened and split, with the folder of its study."""
    patch = pytest.MonkeyPatch()
    folder = tmp_path_factory.mktemp("study")
    profile = {"chips": 18, "size": 64, "pretrain": TINY, "finetune": TINY}
    patch.setattr(rtslib.config, "PROFILES", {"mini": profile}, raising=False)
    patch.setattr(study, "ROOT", folder)
    yield SimpleNamespace(folder=folder, out=folder / "out", opened=study.prepare("", "mini", 1, folder / "out"))
    patch.undo()


def test_prepare_makes_the_landscape_once(prepared):
    chips, split = prepared.opened
    assert chips.layout == "challenge" and len(chips.chips) == 18 and set(split["side"]) >= {"train", "test"}
    made = list((prepared.folder / "scratch" / "synthetic").iterdir())
    assert len(made) == 1 and made[0].name.startswith("18-chips-64px-seed1-")
    before = made[0].stat().st_mtime_ns
    again, same = study.prepare("", "mini", 1, prepared.out)
    assert made[0].stat().st_mtime_ns == before and again.fingerprint() == chips.fingerprint()
    pd.testing.assert_frame_equal(same, split)
    sides = pd.read_csv(prepared.out / "tables" / "sides.csv")
    assert sides["chips"].sum() == 18 and list(sides["side"]) == ["train", "val", "test"]
    assert sides["instances"].sum() == sum(map(len, chips.instances.values()))
    assert json.loads((prepared.out / "tables" / "data.json").read_text())["fingerprint"] == chips.fingerprint()


def test_unknown_profile_and_run_are_refused(prepared):
    chips, split = prepared.opened
    with pytest.raises(ConfigError, match="no profile 'fast': choose one of mini"):
        study.prepare("", "fast", 0, prepared.out)
    with pytest.raises(ConfigError, match="no run 'fused': choose one of rgb, spectral, terrain, rgb_continued"):
        study.make("fused", chips, split, "mini", 0, prepared.out)


def test_two_stages_end_to_end_and_are_not_repeated(prepared, monkeypatch):
    chips, split = prepared.opened
    models = study.models_folder("", "mini", 1, 1)
    assert models == prepared.folder / "runs" / "synthetic-mini" / "models" / "split1-seed1"
    fused = study.make("residual_cross_attention", chips, split, "mini", 1, models)
    runs = {m: models / m for m in ("rgb", "spectral", "terrain")}  # made on the way
    row = runscores.score(fused, chips, split)
    assert row["model"] == "residual_cross_attention" and row["modalities"] == "rgb+spectral+terrain"
    assert row["fusion"] == "residual_cross_attention"
    assert row["chips"] == (split["side"] == "test").sum() and 0 <= row["AP50"] <= 1
    costs = [runkeys.cost(r) for r in (*runs.values(), fused)]
    assert row["epochs"] == 1 and row["epochs_before"] == 1
    train = int((split["side"] == "train").sum())
    assert [c["image_passes"] for c in costs] == [train, train, train, 6 * train]
    steps = json.loads((fused / "run.json").read_text())["steps"]
    assert row["seconds"] > steps * row["seconds_per_step"] > 0  # pre-training comes on top
    assert costs[3]["parameters"] > sum(c["parameters"] for c in costs[:3]) / 2
    assert np.isnan(row["AP50_low"]) or row["AP50_low"] <= row["AP50_high"]
    gains = runscores.gains(fused, [runs["rgb"], fused], chips, split)
    assert list(gains["over"]) == ["rgb", "residual_cross_attention"] and gains["AP50_gain"][1] == 0
    assert gains["AP50_gain"][0] == pytest.approx(row["AP50"] - runscores.score(runs["rgb"], chips, split)["AP50"])
    curve = runscores.curve_table([runs["rgb"], fused], chips, split)
    assert len(curve) == 202 and list(curve["model"].unique()) == ["rgb", "residual_cross_attention"]
    assert list(runscores.log_table([runs["rgb"], fused])["model"]) == ["rgb", "residual_cross_attention"]

    monkeypatch.setattr("rtslib.training.train._fit", lambda *a: pytest.fail("trained again"))
    assert study.make("residual_cross_attention", chips, split, "mini", 1, models) == fused
    with pytest.raises(pytest.fail.Exception, match="trained again"):  # another seed is another run
        study.make("residual_cross_attention", chips, split, "mini", 2, study.models_folder("", "mini", 1, 2))


def test_why_no_fusion_says_what_there_is():
    one = SimpleNamespace(modalities=lambda: {"rgb": ("red", "green", "blue")}, bands=("red", "green", "blue"))
    assert study.why_no_fusion(one).startswith("This data set has one complete modality, rgb (bands: red, green, blue)")
    two = SimpleNamespace(modalities=lambda: {"rgb": (), "terrain": ()}, bands=())
    assert study.why_no_fusion(two) == ""


def test_knobs_follow_the_layout(monkeypatch):
    profile = {"pretrain": {"epochs": 3}, "finetune": {"epochs": 4}, "layouts": {"geotiff": {"scale": 2.0}}}
    monkeypatch.setattr(rtslib.config, "PROFILES", {"mini": profile}, raising=False)
    geotiff, coco = SimpleNamespace(layout="geotiff"), SimpleNamespace(layout="coco")
    assert study.knobs(geotiff, "mini", 7, "finetune") == Config(epochs=4, scale=2, seed=7)
    assert study.knobs(coco, "mini", 7, "pretrain") == Config(epochs=3, seed=7)


def test_prepare_splits_as_the_layout_asks(prepared, monkeypatch):
    profile = {"chips": 18, "size": 64, "pretrain": TINY, "layouts": {}}
    profile["layouts"]["challenge"] = {"val_fraction": 0, "test_fraction": 0.6}
    monkeypatch.setattr(rtslib.config, "PROFILES", {"mini": profile}, raising=False)
    _, split = study.prepare("", "mini", 1, prepared.folder / "other")
    assert (split["side"] == "test").sum() > (split["side"] == "train").sum()


def test_thin_keeps_every_side_and_its_share():
    split = pd.DataFrame({"chip": range(100), "side": ["train"] * 70 + ["val"] * 10 + ["test"] * 20})
    few = study.thin(split, 20)
    assert few["side"].value_counts().to_dict() == {"train": 14, "test": 4, "val": 2}
    assert few["chip"].is_monotonic_increasing and few["chip"].iloc[0] == 0 and few["chip"].iloc[-1] == 99
    assert study.thin(split, 100) is split


class FakeSet:
    def __init__(self, mark: str) -> None:
        self.mark = mark

    def fingerprint(self) -> str:
        return self.mark


@pytest.fixture
def fake_train(monkeypatch):
    """Stand-in for training that honours the run folder's rules; returns the list of folders trained."""
    from rtslib.training.runs import read_run, run_key

    calls = []

    def train(chipset, out, config, split=None, init=None, resume=False, progress=True):
        key = run_key(config, chipset.fingerprint(), split.to_csv(index=False), init)
        if read_run(out).get("key") == key and read_run(out)["finished"]:
            return Path(out)
        assert not read_run(out) or read_run(out)["key"] == key
        calls.append(Path(out).name)
        write_json(Path(out) / "run.json", {"key": key, "finished": True})
        return Path(out)

    monkeypatch.setattr("rtslib.training.train.train", train)
    return calls


def test_runs_are_recognised_by_data_config_split_and_code(tmp_path, fake_train, monkeypatch, capsys):
    split, folder = pd.DataFrame({"chip": [1], "side": ["train"]}), tmp_path / "runs" / "rgb"

    def again(data="a", epochs=1, split=split):
        return runkeys.trained(FakeSet(data), split, folder, Config(epochs=epochs), {})

    assert again() == folder and again() == folder
    assert fake_train == ["rgb"]
    again(epochs=2)
    assert len(fake_train) == 2 and (tmp_path / "runs" / "rgb.previous" / "run.json").exists()
    again(epochs=2, data="b")
    again(epochs=2, data="b", split=split.assign(side="test"))
    assert len(fake_train) == 4
    monkeypatch.setattr(runkeys, "code_hash", lambda: "another code")
    again(epochs=2, data="b", split=split.assign(side="test"))
    assert len(fake_train) == 5
    said = capsys.readouterr().out.splitlines()
    assert len(said) == 4 and said[-1] == "rgb: code changed since it was trained; kept as rgb.previous, trained anew"
    assert sorted(p.name for p in folder.parent.iterdir()) == ["rgb", "rgb.code", "rgb.previous"]


def test_code_hash_follows_imports_and_ignores_comments(tmp_path, monkeypatch):
    for name, text in {"train": "from rtslib import model", "predict": "", "model": "x = 1", "charts": "y = 1"}.items():
        (tmp_path / f"{name}.py").write_text(text)
    monkeypatch.setattr(runkeys, "__file__", str(tmp_path / "runkeys.py"))

    def now() -> str:
        return runkeys.code_hash.__wrapped__()

    first = now()
    (tmp_path / "charts.py").write_text("y = 2")  # training imports no charts
    (tmp_path / "model.py").write_text("x = 1  # a comment")
    assert now() == first
    (tmp_path / "model.py").write_text("x = 2")
    assert now() != first


def test_folder_that_is_no_run_is_left_alone(tmp_path):
    from rtslib.training.train import train

    (tmp_path / "rgb").mkdir()
    (tmp_path / "rgb" / "thesis.txt").write_text("dear")
    chips = FakeSet("a")
    with pytest.raises(OutputError, match="is not empty and holds no run"):
        train(chips, tmp_path / "rgb", Config(), split=pd.DataFrame({"chip": [1], "side": ["train"]}), resume=True)
    assert (tmp_path / "rgb" / "thesis.txt").read_text() == "dear"


def test_tables_say_what_the_chips_hold(prepared):
    chips, split = prepared.opened
    listed = tables.instances_table(chips, split)
    assert sorted(listed["area_px"]) == sorted(i.area for c in split["chip"] for i in chips.instances[c])
    train = study.side_chips(chips, split, "train")
    bands = tables.bands_table(chips, train, {"mine": ["green", "relative_elevation"]})
    green = np.concatenate([chips.read(c)[1].ravel() for c in train])
    voids = np.concatenate([np.isnan(chips.read(c)[4]).ravel() for c in train])
    assert list(bands["band"]) == ["green", "relative_elevation"] and bands["unit"][1] == "m"
    assert bands["mean"][0] == pytest.approx(np.nanmean(green), rel=1e-4)
    assert bands["nodata_percent"][1] == pytest.approx(100 * voids.mean())
    with pytest.raises(DataError, match="no chip on the other side"):
        study.side_chips(chips, split, "other")


def test_saved_tables_read_back(tmp_path):
    frame = pd.DataFrame({"model": ["rgb"], "AP50": [1 / 3], "none": [None]})
    assert tables.save_table(frame, tmp_path / "t" / "a.csv") is frame
    assert (tmp_path / "t" / "a.csv").read_text() == "model,AP50,none\nrgb,0.333333,\n"


def rectangle(y0: int, y1: int, x0: int, x1: int) -> dict:
    mask = np.zeros((20, 20), bool)
    mask[y0:y1, x0:x1] = True
    return encode(mask)


def test_matches_take_each_instance_once():
    truth = [rectangle(0, 10, 0, 10), rectangle(10, 20, 10, 20)]
    found = [rectangle(0, 10, 0, 10), rectangle(0, 10, 0, 9), rectangle(10, 20, 10, 14), rectangle(10, 20, 10, 15)]
    results = [{"segmentation": rle, "score": 0.9} for rle in found]
    assert examples.matches(results, truth) == [True, False, False, True]  # twice; IoU 0.4; IoU 0.5
    assert examples.matches([], truth) == [] and examples.matches(results, []) == [False] * 4


def test_detections_figure_draws_labels_and_results(prepared):
    chips, split = prepared.opened
    shown = examples.pick(chips, chips.chips, count=2)
    assert len(shown) == 2 and all(chips.instances[c.id] for c in shown)
    truth = chips.instances[shown[0].id][0].rle
    result = {"image_id": shown[0].id, "category_id": 1, "segmentation": truth, "score": 0.75}
    results = {"rgb": [result, {**result, "score": 0.1}], "fused": []}
    figure = examples.detections_figure(chips, shown, results, score=0.3)
    first, second = figure.axes[1], figure.axes[2]
    assert [t.get_text() for t in first.texts] == ["0.75"] and not second.lines
    assert {line.get_linestyle() for line in first.lines} == {"-"}  # it matches
    assert figure.axes[0].get_title() == "labels" and len(figure.axes[0].lines) >= len(chips.instances[shown[0].id])


def test_true_colour_keeps_the_void_black_and_the_order_of_bands():
    pixels = np.stack([np.full((4, 5), v, np.float32) for v in (0.0, 5.0, 10.0)])  # blue, green, red
    pixels[:, 0, 0] = np.nan
    chip = SimpleNamespace(height=4, width=5)
    image = examples.true_colour(SimpleNamespace(bands=("blue", "green", "red"), read=lambda c: pixels), chip)
    assert image.shape == (4, 5, 3) and image.dtype == np.uint8
    assert image[0, 0].tolist() == [0, 0, 0] and image[2, 2].tolist() == [255, 127, 0]
    empty = SimpleNamespace(bands=("blue", "green", "red"), read=lambda c: np.full((3, 4, 5), np.nan, np.float32))
    assert not examples.true_colour(empty, chip).any()
