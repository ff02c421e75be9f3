"""`doctor`: every kind is known, a line a fact; what cannot be read ends in a line a fault and exit code 2."""

from pathlib import Path

import numpy as np
import pytest

from helpers.chip_folders import edit_json, write_coco
from helpers.maps import CONFIG, Threshold, map_scene, write
from helpers.models import TINY_KNOBS
from rtslib.cli.main import main
from rtslib.data.opening import STOPPED
from rtslib.files import write_json
from rtslib.mapping.maps import MANIFEST, PLAN_FILE


def doctor(capsys, *args):
    """Return exit code and lines of standard output and of standard error."""
    capsys.readouterr()
    code = main(["doctor", *map(str, args)])
    out, err = capsys.readouterr()
    return code, out.splitlines(), err.splitlines()


@pytest.fixture(scope="module")
def mapped(tmp_path_factory):
    """A scene with one slump of 4 x 5 px, and its map."""
    folder = tmp_path_factory.mktemp("doctor")
    values = np.ones((64, 64), np.float32)
    values[10:14, 20:25] = 9
    write(folder / "scene" / "dem.tif", values)
    map_scene(Threshold(), CONFIG, folder / "scene", folder / "map", 64, 0)
    return folder


def test_several_paths(capsys, mapped, tmp_path):
    paths = mapped / "scene", mapped / "scene" / "dem.tif", mapped / "map", write_coco(tmp_path / "chips")
    code, out, err = doctor(capsys, *paths)
    assert (code, err) == (0, [])
    assert [line for line in out if not line.startswith("  ")] == [str(p) for p in paths]
    assert all(line[:7] in ("  is   ", "  use  ", "  odd  ") for line in out if line.startswith("  "))
    for part in ("a scene", "a raster", "a map", "detections: 1", "a folder of chips"):
        assert any(part in line for line in out), part


def test_one_that_cannot_be_read_does_not_hide_the_others(capsys, mapped, tmp_path):
    code, out, err = doctor(capsys, tmp_path / "nothing", mapped / "map", tmp_path)
    assert code == 2 and len(err) == 2 and all(line.startswith("error: ") for line in err)
    assert "no such file or folder" in err[0] and "no known kind" in err[1] and out[0] == str(mapped / "map")


@pytest.mark.skipif(not Path("/dev/null").exists(), reason="needs a device")
def test_a_device_is_neither_file_nor_folder(capsys):
    assert doctor(capsys, "/dev/null")[2][0].startswith("error: /dev/null: found neither a file nor a folder")


def test_chips_whose_cutting_was_stopped(capsys, tmp_path):
    write_json(tmp_path / STOPPED, {})
    code, _, err = doctor(capsys, tmp_path)
    assert code == 2 and "chips whose cutting was stopped" in err[0] and "--resume" in err[0]


def test_faults_are_lines(capsys, tmp_path):
    root = write_coco(tmp_path)
    for path in sorted((root / "images").iterdir())[:2]:
        path.write_bytes(path.read_bytes()[:60])
    code, out, err = doctor(capsys, root)
    assert code == 2 and len(err) == 2 and out[0] == str(root)


def test_a_class_can_be_named(capsys, tmp_path):
    root = write_coco(tmp_path)
    edit_json(root / "instances.json", lambda c: c["categories"].append({"id": 2, "name": "lake"}))
    code, _, err = doctor(capsys, root)
    assert code == 2 and "--category NAME" in err[0]
    code, _, err = doctor(capsys, root, "--category", "RTS")
    assert (code, err) == (0, [])


def test_a_split_says_which_side_has_no_slump(capsys, tmp_path):
    """nitze (chips 1 and 3) trains, yg (chip 2) tests."""
    root, split = write_coco(tmp_path / "chips"), ["split", str(tmp_path / "chips"), "--out", str(tmp_path / "s.csv")]
    assert main(split) == 0 and capsys.readouterr().err == ""
    edit_json(root / "instances.json", lambda c: c["annotations"].pop(1))
    assert main(split) == 0 and capsys.readouterr().err == "note: the test side has no slump\n"


def test_a_map_that_was_stopped(capsys, tmp_path):
    (tmp_path / "shards").mkdir()
    write_json(tmp_path / PLAN_FILE, {})
    code, out, _ = doctor(capsys, tmp_path)
    assert code == 0 and "stopped; 0 blocks" in out[1] and "--resume" in out[2]


def test_a_map_without_its_end(capsys, mapped):
    whole = (mapped / "map" / MANIFEST).read_text()
    (mapped / "map" / MANIFEST).unlink()
    assert any("not written to the end" in line for line in doctor(capsys, mapped / "map")[1])
    (mapped / "map" / MANIFEST).write_text(whole)
    assert not any("not written" in line for line in doctor(capsys, mapped / "map")[1])


def test_runs(capsys, tmp_path):
    root, run = write_coco(tmp_path / "chips", chips=3, size=(64, 64)), tmp_path / "run"
    knobs = [arg for knob in TINY_KNOBS for arg in ("--set", knob)]
    assert main(["train", "--data", str(root), "--out", str(run), *knobs]) == 0
    code, out, err = doctor(capsys, run)
    assert (code, err) == (0, []) and not any(line.startswith("  odd") for line in out)
    for part in (
        "a run: rgb, nano alone, of 1 epochs", "modality rgb reads red (mean", "trained on chips (layout coco)",
        "No validation side", f"--run {run}",
    ):  # fmt: skip
        assert any(part in line for line in out), part
    (run / "model.pt").unlink()
    _, out, _ = doctor(capsys, run)
    assert any("odd  not finished" in line for line in out) and any("--resume" in line for line in out)
    (run / "config.json").write_text("{")
    code, _, err = doctor(capsys, run)
    assert code == 2 and len(err) == 1 and "config.json" in err[0]
