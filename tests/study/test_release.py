"""The challenge's release: unpacked, checked, split by ground; and a submission from a run."""

import json
import shutil
import zipfile

import numpy as np
import pandas as pd
import pytest

from helpers.chip_folders import edit_json, write_challenge
from helpers.models import TINY_KNOBS
from rtslib.cli.main import main
from rtslib.data.opening import open_chips
from rtslib.data.splits import load_split
from rtslib.errors import DataError, OutputError
from rtslib.evaluation.submission import validate
from rtslib.study.release import prepare
from rtslib.synthetic.chips import write_challenge as write_landscape


@pytest.fixture(scope="module")
def release(tmp_path_factory):
    """12 chips without groups, of which two show one picture, and 2 test chips, of which one shows it too."""
    root = write_landscape(tmp_path_factory.mktemp("release") / "rts_release", 12, 96, seed=1, test_chips=2)
    for part in ("train", "test"):
        manifest = root / "metadata" / f"{part}_manifest.csv"
        pd.read_csv(manifest).drop(columns="group").to_csv(manifest, index=False)
    images = sorted((root / "train" / "images").iterdir())
    shutil.copy(images[0], images[7])
    shutil.copy(images[0], sorted((root / "test" / "images").iterdir())[0])
    return root


def test_a_zip_is_unpacked_checked_and_split_by_ground(release, tmp_path, capsys):
    archive = shutil.make_archive(str(tmp_path / "release"), "zip", release.parent)
    out = tmp_path / "out"
    assert main(["prepare-challenge", archive, "--out", str(out)]) == 0
    said = capsys.readouterr()
    assert "note: 1 test chips of the release show ground" in said.err and "12 chips in 11 groups of ground" in said.out
    data = out / "data" / "rts_release"
    assert f"--data {data} --split {out / 'split.csv'}" in said.out
    split = load_split(out / "split.csv", open_chips(data))
    same = split.set_index("chip").loc[[1, 8]]
    assert same["group"].nunique() == 1 and same["side"].nunique() == 1
    assert set(split["side"]) == {"train", "val", "test"}
    assert len(pd.read_csv(out / "lookalikes.csv")) == 3  # 1 and 8, and each with the test chip
    with pytest.raises(OutputError, match="exists already"):
        prepare(archive, out)


def test_of_several_classes_the_slump_is_named(release, tmp_path, capsys):
    root = tmp_path / "two classes"
    shutil.copytree(release, root)
    file = root / "train" / "annotations" / "instances_train.json"
    edit_json(file, lambda c: c["categories"].extend([{"id": 2, "name": "lake"}, {"id": 3, "name": "thaw slump"}]))
    edit_json(file, lambda c: [a.update(category_id=3) for a in c["annotations"]])
    command = ["prepare-challenge", str(root), "--out", str(tmp_path / "out")]
    assert main(command) == 2 and "--category NAME" in capsys.readouterr().err
    assert main([*command, "--category", "thaw slump"]) == 0
    (line,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith("next: ")]
    assert f"--data '{root}' " in line and "--category 'thaw slump'" in line
    submit = ["submit", "--run", str(tmp_path / "none"), "--data", str(root), "--out", str(tmp_path / "s")]
    assert main(submit) == 2 and "--category NAME" in capsys.readouterr().err
    assert main([*submit, "--category", "thaw slump"]) == 2 and str(tmp_path / "none") in capsys.readouterr().err


def test_a_folder_is_split_where_it_lies(release, tmp_path):
    place, split, shared = prepare(release, tmp_path / "out")
    assert place == release and len(split) == 12 and shared == 1
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["lookalikes.csv", "split.csv"]


def test_what_is_no_release_or_a_damaged_one_leaves_nothing(release, tmp_path, capsys):
    damaged = tmp_path / "damaged"
    shutil.copytree(release, damaged)
    image = sorted((damaged / "train" / "images").iterdir())[3]
    np.savez(image, image=np.full((96, 96, 8), 1e9, np.float32))
    (tmp_path / "text.zip").write_text("no archive")
    with zipfile.ZipFile(tmp_path / "other.zip", "w") as archive:
        archive.writestr("readme.txt", "hello")
    for path, message in (
        (damaged, "1e+09"), (tmp_path / "text.zip", "no readable ZIP"), (tmp_path / "none", "no such folder"),
        (tmp_path / "other.zip", "no metadata/band_names.json"),
    ):  # fmt: skip
        assert main(["prepare-challenge", str(path), "--out", str(tmp_path / "out")]) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert line.startswith("error: ") and message in line
        assert not (tmp_path / "out").exists() and not list(tmp_path.glob(".part*"))
    with pytest.raises(DataError, match="2 releases"):
        prepare(_two(release, tmp_path), tmp_path / "out")


def _two(release, tmp_path):
    for name in "ab":
        shutil.copytree(release / "metadata", tmp_path / "two" / name / "metadata")
    return tmp_path / "two"


def test_a_submission_is_predicted_checked_and_named(tmp_path, capsys):
    data = write_landscape(tmp_path / "data", 12, 64, seed=3, test_chips=2)
    knobs = [word for knob in TINY_KNOBS for word in ("--set", knob)]
    assert main(["train", "--data", str(data), "--out", str(tmp_path / "first"), *knobs]) == 0
    command = ["submit", "--run", str(tmp_path / "first"), "--out", str(tmp_path / "out"), "--data"]
    assert main([*command, str(data)]) == 0
    (file,) = (tmp_path / "out").iterdir()
    assert file.name.startswith("submission-first-") and len(file.stem) == len("submission-first-") + 8
    assert f"{file}: {len(json.loads(file.read_text()))} instances" in capsys.readouterr().out
    chips = open_chips(data)
    assert validate(file, chips) == []
    assert {r["image_id"] for r in json.loads(file.read_text())} <= {c.id for c in chips.chips if not c.labelled}
    alone = write_challenge(tmp_path / "alone", test=0)
    shutil.rmtree(alone / "test")
    (alone / "metadata" / "test_manifest.csv").unlink()
    capsys.readouterr()
    assert main([*command, str(alone)]) == 2
    assert "no unlabelled test chips" in capsys.readouterr().err
