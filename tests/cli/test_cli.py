"""The command line end to end, and that bad input ends in one line and exit code 2."""

import json
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest

from helpers.chip_folders import write_challenge, write_coco, write_overlapping
from helpers.models import TINY_KNOBS as TINY
from helpers.workers import warm_workers  # noqa: F401 (fixture)
from rtslib.cli.main import main
from rtslib.data.masks import encode
from rtslib.data.opening import open_chips
from rtslib.errors import DataError
from rtslib.evaluation.coco import METRICS
from rtslib.training.runs import Run

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    out = tmp_path_factory.mktemp("cli") / "data"
    assert main(["synth", str(out), "--chips", "12", "--size", "64", "--seed", "3", "--test-chips", "2"]) == 0
    return out


@pytest.fixture(scope="module")
def run(data):
    out = data.parent / "run"
    knobs = [arg for knob in TINY for arg in ("--set", knob)]
    assert main(["train", "--data", str(data), "--out", str(out), *knobs]) == 0
    return out


def call(capsys, *args) -> tuple[int, str, list[str]]:
    """Run in this process; return exit code, standard output, and lines of standard error."""
    capsys.readouterr()
    code = main([str(a) for a in args])
    out, err = capsys.readouterr()
    return code, out, err.splitlines()


def fails(capsys, *args) -> str:
    """Run what must fail in the agreed way and return its message."""
    code, out, err = call(capsys, *args)
    assert (code, out, len(err)) == (2, "", 1), (code, out, err)
    assert err[0].startswith("error: ")
    return err[0].removeprefix("error: ")


def test_synth_and_info(capsys, data):
    code, out, err = call(capsys, "info", data, "--json")
    found = json.loads(out)
    assert (code, err) == (0, [])
    keys = "layout chips labelled instances dropped_instances bands modalities groups notes"
    assert list(found) == keys.split()
    chipset = open_chips(data)
    assert (found["layout"], found["chips"], found["labelled"]) == ("challenge", 14, 12)
    assert found["instances"] == sum(map(len, chipset.instances.values())) > 0
    assert found["groups"] == len({c.group for c in chipset.chips}) and found["dropped_instances"] == 0
    assert found["bands"] == list(chipset.bands)
    assert list(found["modalities"]) == ["rgb", "spectral", "terrain"]
    code, out, _ = call(capsys, "info", data)
    assert code == 0 and "14, 12 labelled" in out and "rgb (red green blue)" in out


def test_same_seed_same_bytes(capsys, tmp_path):
    for name in "ab":
        assert call(capsys, "synth", tmp_path / name, "--chips", 2, "--size", 32, "--seed", 5)[0] == 0
    files = sorted(p.relative_to(tmp_path / "a") for p in (tmp_path / "a").rglob("*.npz"))
    assert len(files) == 2
    assert all((tmp_path / "a" / f).read_bytes() == (tmp_path / "b" / f).read_bytes() for f in files)


def test_train_leaves_a_run(run):
    assert {"config.json", "model.pt", "log.csv", "split.csv", "run.json"} <= {p.name for p in run.iterdir()}
    config = json.loads((run / "config.json").read_text())
    assert config["backbone"] == "nano" and list(config["modalities"]) == ["rgb", "spectral", "terrain"]


def test_predict_validate_and_evaluate(capsys, data, run, tmp_path):
    code, out, _ = call(capsys, "predict", "--run", run, "--data", data, "--out", tmp_path / "test.json")
    entries = json.loads((tmp_path / "test.json").read_text())
    test_ids = {c.id for c in open_chips(data).chips if c.part == "test"}
    assert code == 0 and "of 2 chips (test)" in out
    assert entries and {e["image_id"] for e in entries} <= test_ids and len(entries) <= 6
    code, out, err = call(capsys, "validate", tmp_path / "test.json", "--data", data)
    assert (code, err) == (0, []) and f"valid, {len(entries)} instances" in out
    args = ("evaluate", "--data", data, "--predictions", tmp_path / "test.json", "--json")
    assert "only predictions on chips without labels" in fails(capsys, *args)


def test_evaluate_scores_a_run_and_its_file_alike(capsys, data, run, tmp_path):
    args = ("predict", "--run", run, "--data", data, "--out", tmp_path / "p.json", "--part", "train")
    assert call(capsys, *args)[0] == 0
    code, out, err = call(capsys, "evaluate", "--data", data, "--predictions", tmp_path / "p.json", "--json")
    scores = json.loads(out)
    assert (code, err) == (0, [])
    assert list(scores) == ["segm", "bbox", "chips", "instances"] and tuple(scores["segm"]) == METRICS
    assert scores["chips"] == 12
    code, out, err = call(capsys, "evaluate", "--data", data, "--run", run, "--json")
    assert code == 0 and json.loads(out) == scores
    assert len(err) == 1 and err[0].startswith("note: ") and "--side test" in err[0]
    learnt = (run / "split.csv").read_text().count(",train\n")
    assert f"{learnt} of these 12 chips were used in training" in err[0]
    code, out, err = call(capsys, "evaluate", "--data", data, "--run", run, "--json", "--side", "test")
    assert (code, err) == (0, []) and json.loads(out)["chips"] == 12 - learnt


def test_evaluate_the_truth(capsys, data, tmp_path):
    chipset = open_chips(data)
    best = [{**a, "score": 1} for a in chipset.coco()["annotations"]]
    hidden = [{**best[0], "image_id": c.id} for c in chipset.chips if not c.labelled]
    (tmp_path / "p.json").write_text(json.dumps(best + hidden))
    code, out, err = call(capsys, "evaluate", "--data", data, "--predictions", tmp_path / "p.json")
    assert code == 0 and "100.0 %" in out and "12 chips" in out
    assert err == ["note: left out 2 predictions on chips without labels"]
    best[3]["score"] = 2
    (tmp_path / "p.json").write_text(json.dumps(hidden + best))
    message = fails(capsys, "evaluate", "--data", data, "--predictions", tmp_path / "p.json")
    assert "p.json, entry 5: found score 2" in message


def test_files_hold_the_ids_of_the_release_where_both_parts_count_from_1(capsys, tmp_path):
    data = write_challenge(tmp_path / "data", train=3, test=3, test_from=1)
    chipset = open_chips(data)
    best = [{**a, "score": 1, "image_id": a["image_id"] - chipset.id_offset} for a in chipset.coco()["annotations"]]
    assert chipset.id_offset and {b["image_id"] for b in best} <= {1, 2, 3}
    (tmp_path / "p.json").write_text(json.dumps(best))
    args = ("evaluate", "--data", data, "--predictions", tmp_path / "p.json")
    code, out, _ = call(capsys, *args)
    assert code == 0 and "100.0 %" in out
    best[0]["image_id"] += chipset.id_offset
    (tmp_path / "p.json").write_text(json.dumps(best))
    assert "entry 0: found image_id 12" in fails(capsys, *args)


def test_validate_lists_each_breach(capsys, data, tmp_path):
    chip = next(c for c in open_chips(data).chips if c.part == "test")
    good = {"image_id": chip.id, "category_id": 1, "score": 0.5}
    good["segmentation"] = encode(open_chips(data).read(chip)[0] > 1e9)
    (tmp_path / "p.json").write_text(json.dumps([good, {**good, "score": 7}, {**good, "image_id": "x\ny"}]))
    code, out, err = call(capsys, "validate", tmp_path / "p.json", "--data", data)
    assert (code, out, len(err)) == (2, "", 2)
    assert err[0] == "error: entry 1: found score 7, expected a number from 0 to 1"
    assert err[1].startswith("error: entry 2: found image_id")


def test_modalities_default_to_those_of_the_data(tmp_path, monkeypatch):
    import rtslib.training.trainer

    seen = []
    monkeypatch.setattr(
        rtslib.training.trainer, "train", lambda *args, split, init, resume: seen.append((args[2], resume))
    )
    common = ["train", "--data", str(write_coco(tmp_path / "data")), "--out", str(tmp_path / "run")]
    (tmp_path / "config.json").write_text('{"epochs": 3, "modalities": {"one": ["red"]}}')
    assert main([*common, "--set", "epochs=7"]) == 0
    assert main([*common, "--set", 'modalities={"g":["green"]}', "--resume"]) == 0
    assert main([*common, "--config", str(tmp_path / "config.json")]) == 0
    expected = [{"rgb": ["red", "green", "blue"]}, {"g": ["green"]}, {"one": ["red"]}]
    assert [c.modalities for c, _ in seen] == expected
    assert [(c.epochs, resume) for c, resume in seen] == [(7, False), (50, True), (3, False)]


@pytest.fixture
def overlapping(tmp_path):
    return write_overlapping(tmp_path / "overlapping")


def test_split_by_look(capsys, overlapping, tmp_path):
    code, out, err = call(capsys, "split", overlapping, "--out", tmp_path / "sources.csv")
    assert (code, err) == (0, []) and "12 chips in 2 groups: 6 train, 0 val, 6 test" in out
    args = ("split", overlapping, "--out", tmp_path / "split.csv", "--lookalikes", "--pairs", tmp_path / "pairs.csv")
    code, out, err = call(capsys, *args, "--val", 0.3, "--test", 0.3, "--seed", 4)
    assert (code, err) == (0, []) and "12 chips in 6 groups: 4 train, 4 val, 4 test" in out
    pairs = pd.read_csv(tmp_path / "pairs.csv")
    assert pairs[["a", "b", "dy", "dx", "overlap_px"]].values.tolist() == [
        [i, i + 1, -10, 0, 50 * 80] for i in range(1, 13, 2)
    ]
    table = pd.read_csv(tmp_path / "split.csv").set_index("chip")
    assert list(table["group"]) == [f"nitze-{i // 2:03d}" for i in range(12)]
    assert "goes with --lookalikes" in fails(capsys, "split", overlapping, "--out", tmp_path / "s", "--pairs", "p")
    assert "val=0.6 and test=0.6" in fails(capsys, "split", overlapping, "--out", "s", "--val", 0.6, "--test", 0.6)


def test_train_takes_a_split_and_its_groups(capsys, overlapping, tmp_path, monkeypatch):
    import rtslib.training.trainer

    seen = []
    monkeypatch.setattr(rtslib.training.trainer, "train", lambda *args, **named: seen.append((args[0], named["split"])))
    call(capsys, "split", overlapping, "--out", tmp_path / "split.csv", "--lookalikes")
    common = ("train", "--data", overlapping, "--out", tmp_path / "run")
    assert call(capsys, *common, "--split", tmp_path / "split.csv")[0] == call(capsys, *common)[0] == 0
    (chips, split), (plain, none) = seen
    pd.testing.assert_frame_equal(split, pd.read_csv(tmp_path / "split.csv"))
    assert [c.group for c in chips.chips] == list(split["group"]) and none is None
    assert {c.group for c in plain.chips} == {"nitze", "yg"}
    assert "found no readable CSV" in fails(capsys, *common, "--split", tmp_path / "none.csv")


def test_predict_takes_all_chips_where_none_is_for_testing(capsys, tmp_path, monkeypatch):
    import rtslib.cli.runs

    asked = []
    monkeypatch.setattr("rtslib.training.weights.load_onto_device", lambda run: None)
    monkeypatch.setattr(rtslib.cli.runs, "_predict", lambda model, chipset, chips, hidden: asked.append(chips) or [])
    data = write_coco(tmp_path / "data")
    code, out, _ = call(capsys, "predict", "--run", "r", "--data", data, "--out", tmp_path / "p.json")
    assert code == 0 and [c.id for c in asked[0]] == [1, 2, 3]
    assert json.loads((tmp_path / "p.json").read_text()) == [] and "(all)" in out
    args = ("predict", "--run", "r", "--data", data, "--out", tmp_path / "p.json", "--part", "test")
    assert "found no test chips" in fails(capsys, *args)


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ([], "Missing command"),
        (["frobnicate"], "No such command 'frobnicate'"),
        (["info"], "Missing argument 'DATA'"),
        (["info", "DATA", "--jsn"], "No such option: --jsn"),
        (["info", "NONE"], "found no such folder"),
        (["info", "TEXT"], "found a file"),
        (["info", "TMP"], "none of the known layouts"),
        (["info", "n" * 300], "File name too long"),
        (["synth", "DATA", "--chips", "2"], "exists already"),
        (["synth", "NEW"], "Missing option '--chips'"),
        (["synth", "NEW", "--chips", "0"], "--chips"),
        (["synth", "NEW", "--chips", "many"], "--chips"),
        (["synth", "NEW", "--chips", "9" * 25], "--chips"),
        (["synth", "NEW", "--chips", "2", "--size", "7"], "size is 7"),
        (["synth", "NEW", "--chips", "2", "--seed", "-1"], "--seed"),
        (["synth", "TEXT/under", "--chips", "2"], "TEXT"),
        (["train", "--data", "DATA", "--out", "NEW", "--set", "epochz=3"], "unknown key 'epochz'"),
        (["train", "--data", "DATA", "--out", "NEW", "--set", "epochs"], "write key=value"),
        (["train", "--data", "DATA", "--out", "NEW", "--set", "epochs=none"], "epochs = 'none'"),
        (["train", "--data", "DATA", "--out", "NEW", "--config", "TEXT"], "no readable JSON"),
        (["train", "--data", "DATA", "--out", "NEW", "--config", "NONE"], "no such file"),
        (["train", "--data", "DATA", "--out", "NEW", "--set", 'modalities={"t":["slope"]}'], "slope"),
        (["train", "--data", "NONE", "--out", "NEW"], "found no such folder"),
        (["predict", "--run", "NONE", "--data", "DATA", "--out", "NEW"], "NONE: found no such folder"),
        (["predict", "--run", "TMP", "--data", "DATA", "--out", "NEW"], "config.json"),
        (["predict", "--run", "TMP", "--data", "DATA", "--out", "NEW", "--part", "val"], "--part"),
        (["validate", "NONE", "--data", "DATA"], "no such file"),
        (["validate", "TEXT", "--data", "DATA"], "no readable JSON"),
        (["validate", "TMP", "--data", "DATA"], "no readable JSON"),
        (["validate", "OBJECT", "--data", "DATA"], "expected a list of predictions"),
        (["evaluate", "--data", "DATA"], "either --predictions or --run"),
        (["evaluate", "--data", "DATA", "--predictions", "TEXT", "--run", "TMP"], "either --predictions or"),
        (["evaluate", "--data", "DATA", "--predictions", "TEXT", "--side", "test"], "--side needs --run"),
        (["evaluate", "--data", "DATA", "--predictions", "TEXT", "--tta"], "--tta needs --run"),
        (["evaluate", "--map", "TEXT", "--truth", "TEXT", "--tta"], "--tta needs --run"),
        (["evaluate", "--data", "DATA", "--predictions", "OBJECT", "--json"], "expected a list"),
        (["map", "--run", "TMP", "--scene", "NONE", "--out", "NEW"], "config.json"),
        (["map", "--run", "NONE", "--scene", "TMP", "--out", "NEW"], "NONE: found no such folder"),
        (["map", "--run", "NONE", "--scene", "TMP", "--out", "NEW", "--score", "2"], "--score"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_bad_input_is_one_line(capsys, data, tmp_path, args, message):
    (tmp_path / "TEXT").write_text("no data")
    (tmp_path / "OBJECT").write_text('{"annotations": []}')
    (tmp_path / "TMP").mkdir()
    places = {name: tmp_path / name for name in ("TEXT", "OBJECT", "TMP", "NONE", "NEW", "TEXT/under")}
    places["DATA"] = data
    assert message in fails(capsys, *(places.get(a, a) for a in args))
    assert not (tmp_path / "NEW").exists()


def test_runs_and_outputs_that_do_not_fit(capsys, data, run, tmp_path):
    train = ("train", "--data", data, "--out", run)
    assert "already holds a run" in fails(capsys, *train)
    assert call(capsys, *train, "--resume")[::2] == (0, [])  # finished, with the knobs that it was made with
    assert "another config" in fails(capsys, *train, "--resume", "--set", "epochs=2")
    assert "cannot write" in fails(capsys, "predict", "--run", run, "--data", data, "--out", tmp_path)
    assert "no chip on side val" in fails(capsys, "evaluate", "--data", data, "--run", run, "--side", "val")
    other = write_coco(tmp_path / "rgb")
    assert "spectral" in fails(capsys, "evaluate", "--data", other, "--run", run)
    assert "no *.tif" in fails(capsys, "map", "--run", run, "--scene", data, "--out", tmp_path / "map")
    assert call(capsys, "synth", tmp_path / "new", "--chips", 2, "--size", 32)[0] == 0
    message = fails(capsys, "evaluate", "--data", tmp_path / "new", "--run", run, "--side", "test")
    assert "other data than" in message


def test_map_writes_polygons_figure_and_page(capsys, run, tmp_path):
    import geopandas as gpd

    from rtslib.synthetic.scene import write_scene

    scene, out = write_scene(tmp_path / "scene", 96, seed=2), tmp_path / "map"
    args = ["map", "--run", run, "--scene", scene, "--out", out]
    args += ["--window", 64, "--overlap", 32, "--score", 0]
    code, said, _ = call(capsys, *args)
    frame = gpd.read_file(out / "detections.gpkg")
    assert code == 0 and frame.crs.to_epsg() == 3413 and f"{len(frame)} slumps" in said
    assert (out / "map.png").read_bytes()[:4] == b"\x89PNG"
    assert "<html" in (out / "map.html").read_text()[:200].lower()
    assert "exist" in fails(capsys, *args)


def test_map_on_a_cluster_that_runs_already_is_the_same(capsys, run, tmp_path, warm_workers):
    import geopandas as gpd
    from dask.distributed import LocalCluster

    from rtslib.synthetic.scene import write_scene

    scene = write_scene(tmp_path / "scene", 96, seed=2)
    args = [
        "map",
        "--run",
        run,
        "--scene",
        scene,
        "--window",
        64,
        "--overlap",
        32,
        "--score",
        0,
        "--block",
        1,
        "--no-pictures",
    ]
    assert call(capsys, *args, "--out", tmp_path / "here")[0] == 0
    with LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=":0") as cluster:
        there = ["--scheduler", cluster.scheduler_address, "--out", tmp_path / "there"]
        assert call(capsys, *args, *there)[0] == 0
        assert len(cluster.scheduler_info["workers"]) == 2  # it is not ours to stop
    here, there = (gpd.read_file(tmp_path / name / "detections.gpkg") for name in ("here", "there"))
    assert len(here) > 1 and here.geometry.geom_equals(there.geometry).all() and (here["score"] == there["score"]).all()


def test_map_from_sources_is_reviewed_judged_and_exported(capsys, run, tmp_path):
    """The rasters of a scene given one by one make the same map; then a reviewer rejects its first row."""
    import geopandas as gpd

    from rtslib.synthetic.scene import write_scene

    scene, out, other = write_scene(tmp_path / "scene", 96, seed=2), tmp_path / "map", tmp_path / "other"
    args = ["map", "--run", run, "--window", 64, "--overlap", 32, "--score", 0, "--no-pictures"]
    sources = [arg for name in ("rgb", "spectral", "terrain", "shade") for arg in ("--source", scene / f"{name}.tif")]
    code, said, _ = call(capsys, *args, *sources, "--out", out, "--image-date", "2024-07-15")
    assert code == 0 and "right are 2 (95 %: 0 to 4)" in said and not (out / "map.html").exists()
    assert call(capsys, *args, "--scene", scene, "--out", other)[0] == 0
    got, same = (gpd.read_file(folder / "detections.gpkg") for folder in (out, other))
    assert len(got) > 1 and got.geometry.geom_equals(same.geometry).all() and set(got["image_date"]) == {"2024-07-15"}
    assert len(got["model_sha256"][0]) == 64 and len(got["run_id"][0]) == 12
    queue = gpd.read_file(out / "review.gpkg")
    queue["accepted"] = [False] + [None] * (len(queue) - 1)
    queue.to_file(out / "review.gpkg", layer="review", driver="GPKG")
    code, said, _ = call(capsys, "review", out)
    assert code == 0 and f"1 of {len(got)} reviewed, 0 of these accepted" in said
    assert len(gpd.read_file(out / "reviewed.gpkg")) == len(got) - 1
    ours = ["--region", "Nowhere", "--creator", "Me", "--date", "2024-07-15", "--sensor", "PlanetScope",
            "--resolution", 4]  # fmt: skip
    assert call(capsys, "arts", out, *ours)[0] == 0
    assert gpd.read_file(out / "arts.gpkg")["TrainClass"].tolist() == ["Positive"] * (len(got) - 1)
    assert call(capsys, *args, *sources, "--out", out, "--overwrite")[0] == 0
    assert not (out / "reviewed.gpkg").exists() and not (out / "arts.gpkg").exists()  # of the map before
    assert call(capsys, "arts", out, *ours)[0] == 0
    assert len(gpd.read_file(out / "arts.gpkg")) == len(got)
    judged = ["evaluate", "--map", out / "detections.gpkg", "--truth", scene / "truth.gpkg"]
    code, said, _ = call(capsys, *judged, "--json")
    assert code == 0 and json.loads(said)["detections"] == len(got)
    gpd.read_file(scene / "truth.gpkg").translate(9e5, 0).to_file(tmp_path / "far.gpkg")
    elsewhere = [*judged[:-1], tmp_path / "far.gpkg"]
    assert "lies near the map's: is it of this ground?" in call(capsys, *elsewhere)[2][0]
    table = tmp_path / "ledger.csv"
    everything = ["evaluate", "--map", out / "candidates.gpkg", "--truth", scene / "truth.gpkg"]
    assert call(capsys, *everything, "--least", 0.3, "--ledger", table)[0] == 0
    assert call(capsys, *args, "--scene", scene, "--out", other, "--overwrite", "--ledger", table)[0] == 0
    assert "ground_count" in json.loads((other / "totals.json").read_text())
    assert "--aoi-layer, --least and --ledger go with --map" in fails(
        capsys, "evaluate", "--data", out, "--ledger", table
    )
    known = gpd.read_file(scene / "truth.gpkg")
    place = tmp_path / "aoi.gpkg"
    known[:1].set_geometry(known[:1].representative_point().buffer(1)).to_file(place, driver="GPKG")
    code, said, _ = call(capsys, *judged, "--aoi", place, "--json")
    meets = got.intersects(gpd.read_file(place).geometry[0]).sum()
    assert code == 0 and (json.loads(said)["known"], json.loads(said)["detections"]) == (1, meets)
    assert "--aoi-layer, --least and --ledger go with --map" in fails(
        capsys, "evaluate", "--data", tmp_path, "--aoi", place
    )
    assert "give --data, or --map with --truth" in fails(capsys, *judged[:3])
    assert "give either --scene" in fails(capsys, *args, "--out", tmp_path / "none")
    assert "go with --source" in fails(
        capsys, *args, "--scene", scene, "--crs", "EPSG:3413", "--out", tmp_path / "none"
    )


def test_a_source_that_the_model_does_not_read_is_refused(capsys, run, tmp_path):
    from rtslib.synthetic.scene import write_scene

    scene = write_scene(tmp_path / "scene", 64, seed=2)
    sources = [arg for name in ("rgb", "spectral") for arg in ("--source", scene / f"{name}.tif")]
    renamed = f"{scene / 'shade.tif'}=slope"
    message = fails(capsys, "map", "--run", run, *sources, "--source", renamed, "--out", tmp_path / "map")
    assert "gives slope, but the model reads" in message and not (tmp_path / "map").exists()


def test_messages_stay_on_one_line(capsys, monkeypatch):
    import rtslib.data.opening

    def broken(error):
        def open_chips(*_):
            raise error

        monkeypatch.setattr(rtslib.data.opening, "open_chips", open_chips)

    broken(DataError("a\nb", "c", "d"))
    assert fails(capsys, "info", "x") == "a b: found c, expected d"
    broken(PermissionError(13, "Permission denied", "secret"))
    assert fails(capsys, "info", "x") == "secret: Permission denied"
    broken(OSError(28, "No space left on device"))
    assert "No space left on device" in fails(capsys, "info", "x")
    broken(AttributeError("a bug"))  # a programmer's error keeps its traceback
    with pytest.raises(AttributeError):
        main(["info", "x"])


def test_json_alone_goes_to_standard_output(capsys, data, monkeypatch):
    import rtslib.data.opening

    real = open_chips

    def chatty(folder, category):
        print("opening")
        return real(folder, category)

    monkeypatch.setattr(rtslib.data.opening, "open_chips", chatty)
    code, out, err = call(capsys, "info", data, "--json")
    assert code == 0 and json.loads(out)["chips"] == 14 and err == ["opening"]


def shell(*args):
    command = [sys.executable, "-m", "rtslib", *args]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True)


def test_help_is_quick_and_has_a_line_for_every_command():
    started = time.monotonic()
    done = shell("--help")
    assert done.returncode == 0 and time.monotonic() - started < 2
    lines = done.stdout.split("Commands:")[1].strip().splitlines()
    assert [line.split()[0] for line in lines] == (
        "synth chips info split validate doctor fetch train join predict evaluate challenge prepare-challenge submit "
        "distill map review arts figures workbook benchmark"
    ).split()
    assert all(line.strip().endswith(".") and not line.endswith("...") for line in lines)


def test_the_process_ends_with_code_2_and_no_traceback(tmp_path):
    done = shell("info", str(tmp_path / "none"))
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == f"error: {tmp_path / 'none'}: found no such folder, expected a folder of chips\n"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs Linux's /dev/full")
def test_a_full_disk_under_standard_output_is_one_line(data):
    with open("/dev/full", "w") as full:
        command = [sys.executable, "-m", "rtslib", "info", str(data), "--json"]
        done = subprocess.run(command, cwd=ROOT, stdout=full, stderr=subprocess.PIPE, text=True)
    assert done.returncode == 2 and done.stderr == "error: [Errno 28] No space left on device\n"


def test_predict_without_a_modality_says_what_to_expect(capsys, data, run, tmp_path):
    code, out, err = call(
        capsys, "predict", "--run", run, "--data", data, "--out", tmp_path / "a.json", "--without", "terrain"
    )
    assert code == 0 and err == [
        "note: runs without terrain: masked out, not read as zeros; the model was not trained for that"
        " (modality_dropout=0), so expect less"
    ]
    assert call(capsys, "predict", "--run", run, "--data", data, "--out", tmp_path / "b.json")[0] == 0
    assert (tmp_path / "a.json").read_text() != (tmp_path / "b.json").read_text()
    message = fails(capsys, "predict", "--run", run, "--data", data, "--out", tmp_path / "c.json", "--without", "rgb")
    assert message.startswith("this model cannot run without its primary modality 'rgb'")
    assert not (tmp_path / "c.json").exists()


def test_tta_turns_what_is_predicted_and_mapped(capsys, data, run, tmp_path):
    """A run that is turned by its knobs needs no option, and then there is nothing to warn of."""
    from rtslib.synthetic.scene import write_scene

    fitted = "what calibrates its scores, threshold and totals was fitted without turning"
    warned = [f"note: this run was not trained with tta=true: {fitted}"]
    shutil.copytree(run, tmp_path / "turned")
    Run(run).config.updated(tta=True).save(tmp_path / "turned" / "config.json")
    for name, which, option in (("plain", run, ()), ("option", run, ("--tta",)), ("knob", tmp_path / "turned", ()),
                                ("both", tmp_path / "turned", ("--tta",))):  # fmt: skip
        out = tmp_path / f"{name}.json"
        code, _, err = call(capsys, "predict", "--run", which, "--data", data, "--out", out, *option)
        assert (code, err) == (0, warned if name == "option" else [])
    plain, *others = ((tmp_path / f"{name}.json").read_text() for name in ("plain", "option", "knob", "both"))
    assert len(set(others)) == 1 and plain != others[0]
    code, out, err = call(capsys, "evaluate", "--run", run, "--data", data, "--side", "test", "--tta", "--json")
    knob = call(capsys, "evaluate", "--run", tmp_path / "turned", "--data", data, "--side", "test", "--json")
    assert (code, out, err) == (0, knob[1], warned) and knob[2] == []
    scene, out = write_scene(tmp_path / "scene", 64, seed=2), tmp_path / "map"
    args = ["map", "--run", run, "--scene", scene, "--out", out, "--window", 64, "--score", 0, "--no-pictures"]
    args += ["--overlap", 16]
    code, _, err = call(capsys, *args, "--tta")
    assert (code, err) == (0, warned)
    mark = json.loads((out / "manifest.json").read_text())["plan"]
    assert mark["tta"] is True
    (out / "plan.json").write_text(json.dumps(mark))  # as a map that was stopped leaves it
    assert "cannot be resumed, as config_sha256, tta changed" in fails(capsys, *args, "--resume")
    assert call(capsys, *args, "--tta", "--resume")[0] == 0


def test_train_starts_from_another_run(capsys, data, run, tmp_path):
    knobs = [arg for knob in TINY for arg in ("--set", knob)]
    code, _, _ = call(capsys, "train", "--data", data, "--out", tmp_path / "on", "--init", f"all={run}", *knobs)
    assert code == 0 and set(json.loads((tmp_path / "on" / "run.json").read_text())["init"]) == {"all"}
    assert fails(capsys, "train", "--data", data, "--out", tmp_path / "x", "--init", "rgb", *knobs) == (
        "--init 'rgb': write key=value"
    )
    assert "none: found no such folder, expected a run's folder" in fails(
        capsys, "train", "--data", data, "--out", tmp_path / "x", "--init", "rgb=none", *knobs
    )
