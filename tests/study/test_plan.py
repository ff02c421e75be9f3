"""The plan of a study: order, equal image passes, and what transfers."""

import pytest

from rtslib.config import PROFILES, Config
from rtslib.errors import ConfigError
from rtslib.models.strategies import STRATEGIES
from rtslib.study.plan import FUSED, RESIDUAL, STAGES_OF, TRIED_WITHOUT, needed, planned, transfer, two_stage

NAMES = ("rgb", "spectral", "terrain")


def length(stage):
    """Epochs of a profile's stage, or its steps where it counts in these."""
    return stage.get("epochs") or stage["steps"]


def epochs(run, settings):
    return sum(length(settings[stage]) for stage in run.stages)


def test_every_strategy_is_in_the_study():
    plan = two_stage(NAMES)
    assert {run.fusion for run in plan.values()} == {*STRATEGIES, "decision", "trees", "ensemble"}
    assert set(FUSED) == set(STRATEGIES) - {"data"}
    assert {*STAGES_OF, *TRIED_WITHOUT} <= set(plan)


@pytest.mark.parametrize("plan", [two_stage(NAMES, 4), transfer(NAMES), two_stage(("rgb",)), transfer(("rgb",))])
def test_runs_come_after_those_they_start_from(plan):
    seen = set()
    for run in plan.values():
        assert run.elsewhere or set(run.starts.values()) <= seen
        assert set(run.modalities) <= set(NAMES) and Config.make(dict(run.knobs))
        seen.add(run.name)


@pytest.mark.parametrize("profile", ["quick", "overnight", "gpu"])
def test_the_ways_to_train_take_equal_image_passes(profile):
    settings = PROFILES[profile]
    plan = two_stage(NAMES, length(settings["finetune"]))

    def passes(name):
        run = plan[name]
        return len(run.modalities) * epochs(run, settings) + sum(passes(s) for s in set(run.starts.values()))

    ways = {name: passes(name) for name in (*STAGES_OF, "data", "decision", *FUSED)}
    assert len(set(ways.values())) == 1, ways
    assert plan["residual_frozen"].knobs["freeze_epochs"] == length(settings["finetune"])
    assert 0 < plan["residual_thawed"].knobs["freeze_epochs"] < length(settings["finetune"])


def test_needed_brings_what_a_run_starts_from():
    plan = two_stage(NAMES)
    assert needed(plan, ["rgb_continued"]) == ["rgb", "rgb_continued"]
    assert needed(plan, ["decision"]) == [*NAMES, *(f"{m}_continued" for m in NAMES), "decision"]
    with pytest.raises(ConfigError, match="no run 'late': choose one of rgb, spectral"):
        needed(plan, ["late"])
    assert needed(transfer(NAMES), ["rgb"]) == ["rgb"]  # its start is the landscape's


def test_real_chips_with_one_modality_get_two_runs_and_trees():
    assert list(transfer(("rgb",))) == ["rgb", "rgb_scratch", "trees"]
    assert list(two_stage(("rgb",))) == ["rgb", "rgb_continued", "trees"]


@pytest.mark.parametrize("names", [NAMES, ("rgb",)])
def test_trees_are_in_every_study_read_all_and_start_from_nothing(names):
    for plan, stage in ((two_stage(names), "finetune"), (transfer(names), "transfer")):
        run = plan["trees"]
        assert (run.modalities, run.fusion, run.stages, dict(run.starts)) == (names, "trees", (stage,), {})
        assert needed(plan, ["trees"]) == ["trees"]


def test_with_weights_at_hand_nothing_starts_from_the_landscape():
    plan = transfer(NAMES, pretrained=True)
    assert set(plan) == set(transfer(NAMES)) and not any(run.elsewhere for run in plan.values())
    assert [name for name, run in plan.items() if run.starts] == ["data_trees"]
    knobs = {name: dict(run.knobs) for name, run in plan.items() if run.knobs}
    assert knobs == dict.fromkeys(("rgb_scratch", "data_scratch", "trees"), {"pretrained": False})


def test_with_a_source_all_start_from_its_primary_run_but_those_to_compare_with():
    plan = transfer(NAMES, pretrained=True, source=True)
    begun = {name: dict(run.starts) for name, run in plan.items() if run.elsewhere}
    assert begun == dict.fromkeys(("rgb", "data", "concat_conv", "merge_only", RESIDUAL), {"rgb": "rgb"})
    assert {"rgb_imagenet", "data_imagenet"} <= set(plan)
    assert not plan["data_imagenet"].knobs and "data_scratch" not in plan  # from the profile's own weights
    assert "data_scratch" in transfer(NAMES, pretrained=False, source=True)
    with pytest.raises(ConfigError, match="a source is for kind transfer"):
        planned("two_stage", NAMES, 2, source=True)
