"""What a study is split by: its own groups where they do, else how chips look; looked for once."""

from dataclasses import replace

import pandas as pd
import pytest

import rtslib.config
from helpers.chip_folders import write_challenge, write_overlapping
from rtslib import files
from rtslib.data.opening import open_chips
from rtslib.errors import DataError
from rtslib.study import grouping
from rtslib.study.grouping import grouped, kept_pairs
from rtslib.study.study import FOLDS, Study


@pytest.fixture
def chips(tmp_path):
    """Twelve chips of two sources; chips 1 and 2, 3 and 4 ... show the same ground."""
    return open_chips(write_overlapping(tmp_path / "overlapping"))


def groups_of(chipset):
    return [c.group for c in chipset.chips]


LOOKS = [f"nitze-{i // 2:03d}" for i in range(12)]


def test_sites_and_enough_sources_are_kept(tmp_path, chips, monkeypatch):
    monkeypatch.setattr(grouping, "lookalike_pairs", lambda chipset: pytest.fail("looked"))
    sites = open_chips(write_challenge(tmp_path / "sites", train=4))
    assert grouped(sites, True, tmp_path) is sites and grouped(sites, False, tmp_path) is sites
    assert grouped(chips, False, tmp_path) is chips  # two sources: one to train on, one to test on
    monkeypatch.setattr(grouping, "LEAST_GROUPS", 2)
    assert grouped(chips, True, tmp_path) is chips


def test_few_sources_give_folds_by_look(tmp_path, chips):
    assert groups_of(grouped(chips, True, tmp_path)) == LOOKS
    assert groups_of(chips)[:2] == ["nitze", "yg"]  # the opened set is as it was


def test_no_or_one_source_gives_any_split_by_look(tmp_path, chips):
    one = replace(chips, chips=tuple(replace(c, group="nitze") for c in chips.chips))
    assert groups_of(grouped(one, False, tmp_path)) == LOOKS
    own = replace(chips, chips=tuple(replace(c, group=c.name) for c in chips.chips))
    pairs = groups_of(grouped(own, False, tmp_path))
    assert pairs[0] == pairs[1] == "train_nitze_001-000" and len(set(pairs)) == 6


def test_pairs_are_looked_for_once_for_one_content(tmp_path, chips, monkeypatch):
    first = kept_pairs(chips, tmp_path)
    assert [p.name[:11] for p in tmp_path.glob("*.csv")] == ["lookalikes-"] and len(first) == 6
    with monkeypatch.context() as patch:
        patch.setattr(grouping, "lookalike_pairs", lambda chipset: pytest.fail("looked again"))
        pd.testing.assert_frame_equal(kept_pairs(chips, tmp_path), first)
    (chips.root / "instances.json").write_text((chips.root / "instances.json").read_text() + "\n")
    assert len(kept_pairs(chips, tmp_path)) == 6 and len(list(tmp_path.glob("*.csv"))) == 2


def test_pairs_are_kept_whole_or_not_at_all(tmp_path, chips):
    broken = chips.chips[7].files[0]
    broken.write_bytes(broken.read_bytes()[:200])
    with pytest.raises(DataError, match="pixels that cannot be read"):
        kept_pairs(chips, tmp_path / "kept")
    assert not (tmp_path / "kept").exists()


def test_a_study_of_few_sources(tmp_path, chips, monkeypatch):
    monkeypatch.setattr(files, "ROOT", tmp_path)
    monkeypatch.setattr(rtslib.config, "PROFILES", {"mini": {"pretrain": {"val_fraction": 0.1}}})
    data = str(chips.root)
    across = Study(data, "mini").split
    assert set(across["group"]) == {"nitze", "yg"} and not (tmp_path / "runs").exists()
    tested = []
    for fold in range(FOLDS):
        study = Study(data, "mini", fold=fold)
        assert groups_of(study.chipset) == LOOKS
        assert (study.split.groupby("group")["side"].nunique() == 1).all()
        assert set(study.split["side"]) == {"train", "val", "test"}
        tested += list(study.split.loc[study.split["side"] == "test", "chip"])
    assert sorted(tested) == list(range(1, 13))
    assert len(list((tmp_path / "runs" / "overlapping-mini" / "models").iterdir())) == 1
