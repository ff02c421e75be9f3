"""Time of training steps: each kind of model is timed once, and runs add up."""

from types import SimpleNamespace

from helpers.models import small_config
from rtslib.files import write_json
from rtslib.training import steptime
from rtslib.training.runs import Run


def test_steps_are_timed_once_for_models_that_cost_the_same(tmp_path, monkeypatch):
    def run(name, init=(), steps=10, data="a", seconds=0.0, **knobs):
        folder = tmp_path / name
        small_config(("rgb",), epochs=2, **knobs).save(folder / "config.json")
        said = {"steps": steps, "data_fingerprint": data, "seconds": seconds}
        write_json(folder / "run.json", {"init": {n: f"../{n}" for n in init}, **said})
        return Run(folder)

    asked = []

    def seconds(config, chipset, chips, frozen):
        asked.append(frozen)
        return 1.0 if frozen else 3.0

    monkeypatch.setattr(steptime, "seconds_a_step", seconds)
    chips, known = SimpleNamespace(labelled=lambda: ()), {}
    first, other = run("first"), run("other", data="b")
    assert steptime.run_seconds(first, chips, known) == {"seconds_per_step": 3.0, "seconds": 30.0}
    frozen = run("frozen", ["first", "other"], freeze_epochs=2, seed=1)  # what ran on other data does not count
    assert steptime.run_seconds(frozen, chips, known) == {"seconds_per_step": 1.0, "seconds": 10 + 30}
    thawed = run("thawed", ["first"], freeze_epochs=1)
    assert steptime.run_seconds(thawed, chips, known) == {"seconds_per_step": 3.0, "seconds": 20 + 30}
    joined = run("joined", ["first", "thawed"], steps=0)
    assert steptime.run_seconds(joined, chips, known) == {"seconds_per_step": None, "seconds": 30 + 50}
    trees = run("trees", steps=0, seconds=7.5)
    assert steptime.run_seconds(trees, chips, known) == {"seconds_per_step": None, "seconds": 7.5}
    assert asked == [False, True] and steptime.run_seconds(other, chips, known)["seconds"] == 30
