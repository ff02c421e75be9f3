"""Processes that train together: the same chips a step as one alone, one folder, one voice, one end.

The processes are real, without a GPU, and are started in the three ways: by Lightning, by torchrun, by (what looks
like) Slurm. Where nothing is drawn at random and every chip has as much to learn from, two equal one.
"""

import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import psutil
import pytest
import torch
from torch import nn

from helpers.models import SMALL, made_batch, small_config
from rtslib.cli import app
from rtslib.config import Config
from rtslib.data.opening import open_chips
from rtslib.data.splits import COLUMNS, save_split
from rtslib.errors import ConfigError, TrainingError
from rtslib.models.build import build_model
from rtslib.models.strategies import STRATEGIES
from rtslib.synthetic.chips import write_challenge
from rtslib.training.logs import read_log
from rtslib.training.order import EpochSampler, mixed_seed
from rtslib.training.runs import Run
from rtslib.training.team import Team, gather
from rtslib.training.weights import load_weights

ROOT = Path(__file__).resolve().parents[2]
#: All anchors and proposals enter the losses, as many of each chip: nothing depends on how they are drawn. The branch
#: does not learn in the first epoch, and then does.
EVEN = {
    **SMALL, "epochs": 3, "batch_size": 4, "lr": 1e-3, "ema": 0.9, "rpn_samples": 4096, "roi_samples": 4096,
    "rpn_nms": 1.0, "proposals": 20, "cascade_ious": [0.99], "val_every": 2, "score_thresh": 0.0, "freeze_epochs": 1,
}  # fmt: skip


def environment(**more):
    """The variables of this process without those that say who it is, one thread each."""
    own = {k: v for k, v in os.environ.items() if not k.startswith(("SLURM", "TORCHELASTIC"))}
    for name in ("RANK", "LOCAL_RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT", "NODE_RANK"):
        own.pop(name, None)
    return {**own, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", **more}


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return str(s.getsockname()[1])


@pytest.fixture(scope="module")
def words(tmp_path_factory):
    """What comes after `train`: chips with one slump each train, seven of them, so that the last step is short."""
    folder = tmp_path_factory.mktemp("team")
    write_challenge(folder / "data", chips=32, size=64, seed=3)
    chips = open_chips(folder / "data")
    one = [c for c in chips.labelled() if len(chips.instances[c.id]) == 1]
    sides = {c.id: "train" if k < 6 else "val" if k < 9 else "test" for k, c in enumerate(one)}
    rows = [(c.id, c.name, c.name, sides.get(c.id, "test")) for c in chips.labelled()]
    save_split(pd.DataFrame(rows, columns=COLUMNS), folder / "split.csv")
    Config.make({"modalities": {"rgb": list(chips.modalities()["rgb"])}, **EVEN}).save(folder / "knobs.json")
    named = {"--data": "data", "--split": "split.csv", "--config": "knobs.json"}
    return ["train", *(word for option, name in named.items() for word in (option, str(folder / name)))]


def plain(words):
    return [sys.executable, "-m", "rtslib", *words]


def by_torchrun(words):
    return [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", "2", "--master_port", free_port(), "-m",
            "rtslib", *words]  # fmt: skip


def slurm(rank, port):
    """What Slurm tells a task of `srun --ntasks-per-node=2`."""
    return environment(
        SLURM_NTASKS="2", SLURM_NTASKS_PER_NODE="2", SLURM_STEP_NUM_TASKS="2", SLURM_NNODES="1", SLURM_NODEID="0",
        SLURM_PROCID=str(rank), SLURM_LOCALID=str(rank), SLURM_JOB_ID="41234", SLURM_JOB_NAME="train",
        SLURM_NODELIST="127.0.0.1", MASTER_PORT=port,
    )  # fmt: skip


def run(command, env=None):
    return subprocess.run(command, env=env or environment(), capture_output=True, text=True, timeout=900, check=False)


@pytest.fixture(scope="module")
def two(words, tmp_path_factory):
    """A run of two processes that Lightning started: its folder, and what was said."""
    out = tmp_path_factory.mktemp("runs") / "two"
    return out, run(plain([*words, "--out", str(out), "--set", "devices=2"]))


def spoken(stderr):
    """Lines of the project: PyTorch says that what it was to look for, as the branch was frozen, is no more there."""
    return [line for line in stderr.splitlines() if "find_unused_parameters=True" not in line]


def test_two_processes_are_one_run(words, two, tmp_path):
    out, said = two
    assert said.returncode == 0, said.stderr
    assert said.stdout.splitlines()[-1] == f"{out}: trained" and said.stdout.count("trained") == 1
    first, *epochs = spoken(said.stderr)
    assert first == "2 processes: of a step's 4 chips each takes 2" and len(epochs) == EVEN["epochs"], said.stderr
    assert all(re.match(r"two, epoch \d of 3: loss \d", line) for line in epochs)
    alone = tmp_path / "one"
    assert run(plain([*words, "--out", str(alone)])).returncode == 0
    one, both = Run(alone), Run(out)
    assert both.finished and both.config.devices == 2
    for name in ("key", "steps", "passes", "chips", "parameters"):
        assert one.record[name] == both.record[name], name
    assert {p.name for p in one.folder.iterdir()} == {p.name for p in both.folder.iterdir()}
    rows = [read_log(r.folder / "log.csv") for r in (one, both)]
    assert [list(row) for row in rows[0]] == [list(row) for row in rows[1]]
    for ours, theirs in zip(*rows, strict=True):
        for name in set(ours) - {"seconds"}:
            assert (ours[name] == "") == (theirs[name] == "")
            assert ours[name] == "" or float(ours[name]) == pytest.approx(float(theirs[name]), rel=1e-4, abs=1e-6), name
    a, b = load_weights(one.weights), load_weights(both.weights)
    worst = max(float((a[k] - b[k]).abs().max()) for k in a)
    assert worst < 0.05 * EVEN["lr"], worst


def test_a_process_that_dies_ends_the_run_which_goes_on_elsewhere(words, two, tmp_path):
    """Started by torchrun, killed, taken up by Slurm: the same weights as those of the run that was left alone."""
    out = tmp_path / "two"
    words = [*words, "--out", str(out), "--set", "devices=2"]
    with subprocess.Popen(by_torchrun(words), env=environment(), stderr=subprocess.PIPE, text=True) as started:
        deadline = time.monotonic() + 600
        while not (out / "last.ckpt").exists():
            assert started.poll() is None and time.monotonic() < deadline
            time.sleep(0.05)
        second = next(p for p in psutil.Process(started.pid).children(recursive=True) if "RANK" in rank_of(p))
        second.send_signal(signal.SIGKILL)
        started.communicate(timeout=600)
    assert started.returncode and not Run(out).finished
    port = free_port()
    both = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    tasks = [subprocess.Popen(plain([*words, "--resume"]), env=slurm(r, port), **both) for r in range(2)]
    said = [task.communicate(timeout=900) for task in tasks]
    assert [task.returncode for task in tasks] == [0, 0], said
    assert "trained" in said[0][0] and "trained" not in said[1][0] and not spoken(said[1][1])
    a, b = load_weights(two[0] / "model.pt"), load_weights(out / "model.pt")
    assert all(torch.equal(a[k], b[k]) for k in a)
    assert [row["epoch"] for row in read_log(out / "log.csv")] == ["0", "1", "2"]


def rank_of(process):
    return {k for k, v in process.environ().items() if k == "RANK" and v == "1"}


def test_what_all_meet_is_said_once(words, two, tmp_path):
    out, _ = two
    before = {p.name: p.stat().st_mtime_ns for p in out.iterdir()}
    again = run(plain([*words, "--out", str(out), "--set", "devices=2"]))
    assert again.returncode == 2 and len(again.stderr.splitlines()) == 1
    assert again.stderr == f"error: {out} already holds a run: choose another folder, or resume it\n"
    assert before == {p.name: p.stat().st_mtime_ns for p in out.iterdir()}
    lost = run(by_torchrun(["train", "--data", str(tmp_path / "none"), "--out", str(tmp_path / "run")]))
    assert lost.returncode and len(re.findall("^error: ", lost.stderr, re.M)) == 1


MEETING = """
import sys
import torch
from torch import distributed
from rtslib.errors import DataError
from rtslib.training.team import Team
rank, store = int(sys.argv[1]), sys.argv[2]
distributed.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=2)
team = Team(rank, 2)
assert team.gathered({rank: "x"}) == [{0: "x"}, {1: "x"}]
assert team.mean(torch.tensor([rank, float("nan") if rank else 0.0])).isnan().tolist() == [False, True]
assert team.mean(torch.tensor(1.0 + rank)) == 1.5
assert team.agreed(lambda: rank + 7) == 7 and team.agreed(lambda: rank + 7, each=True) == rank + 7
def work():
    if rank:
        raise DataError("chip 7", "nothing", "something")
try:
    team.agreed(work, each=True)
except DataError as e:
    assert rank == 0 and e.where == "chip 7"
    print("told")
except SystemExit as e:
    assert rank == 1 and e.code == 2
distributed.barrier()
team.part()
assert rank == 0
print("goes on")
"""


def test_processes_agree(tmp_path):
    """What one of them cannot do is told by the first, and the others end with the same code."""
    command = [sys.executable, "-c", MEETING]
    tasks = [
        subprocess.Popen(
            [*command, str(r), str(tmp_path / "store")], env=environment(), stdout=subprocess.PIPE, text=True
        )
        for r in range(2)
    ]
    said = [task.communicate(timeout=300)[0] for task in tasks]
    assert [task.returncode for task in tasks] == [0, 0]
    assert [s.split() for s in said] == [["told", "goes", "on"], []]


class Some(list):
    """Data of so many chips."""

    def set_epoch(self, epoch):
        pass


@pytest.mark.parametrize("size", [1, 2, 4])
@pytest.mark.parametrize("chips", [1, 7, 8, 9])
def test_a_step_has_the_chips_that_one_alone_would_take(size, chips):
    batch, data = 4, Some(range(chips))
    samplers = [EpochSampler(data, 5, Team(rank, size)) for rank in range(size)]
    for sampler in samplers:
        sampler.set_epoch(2)
    alone = EpochSampler(data, 5)
    alone.set_epoch(2)
    order, shares = list(alone), [list(s) for s in samplers]
    assert {len(s) for s in shares} == {len(s) for s in samplers} == {-(-chips // size)}
    own = batch // size
    for k in range(0, chips, batch):
        together = sorted(c for share in shares for c in share[k // size : k // size + own])
        wanted = order[k : k + batch]
        padding = -len(wanted) % size
        assert together == sorted(wanted + (order * size)[:padding])


@pytest.mark.parametrize("fusion", STRATEGIES)
@pytest.mark.parametrize("instances", [(2, 0), (0, 0)])
def test_every_parameter_is_in_every_step(fusion, instances):
    """Else processes would wait for its gradient, unless `strategy` says to look for such."""
    model = build_model(small_config(fusion=fusion, semantic=1.0)).train()
    torch.stack(list(model(made_batch(instances=instances)).values())).sum().backward()
    assert [n for n, p in model.named_parameters() if p.grad is None] == []


def test_every_process_draws_samples_of_its_own():
    assert mixed_seed(3, 7, 0) == mixed_seed(3, 7) and len({mixed_seed(3, 7, rank) for rank in range(8)}) == 8


def test_one_alone_needs_no_others():
    x = torch.ones(2)
    assert Team().mean(x) is x and Team().gathered(3) == [3] and Team().share([1, 2, 3]) == [1, 2, 3]
    assert Team().said(8) == "" and Team().part() is None
    with pytest.raises(TrainingError, match="none"):
        Team().agreed(failing)
    assert gather(Config(strategy="ddp")) == Team()


def failing():
    raise TrainingError("none")


def test_what_a_machine_or_a_starter_cannot_do_is_refused(monkeypatch):
    for name in ("WORLD_SIZE", "SLURM_STEP_NUM_TASKS", "TORCHELASTIC_RUN_ID", "LOCAL_RANK"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(ConfigError, match=r"devices=4096: this machine has \d+ (GPUs|cores)"):
        gather(Config(devices=4096, batch_size=4096))
    monkeypatch.setattr(os, "cpu_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    monkeypatch.setattr(sys, "argv", ["-c"])  # as a study starts its runs
    with pytest.raises(ConfigError, match="devices=2 and num_nodes=1: such a run is the only one of a command"):
        gather(Config(devices=2))
    monkeypatch.setenv("SLURM_STEP_NUM_TASKS", "4")
    with pytest.raises(ConfigError, match="4 processes were started, devices=1 and num_nodes=1 make 1"):
        gather(Config())
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "x")
    monkeypatch.setenv("WORLD_SIZE", "3")
    with pytest.raises(ConfigError, match="3 processes were started, devices=2 and num_nodes=2 make 4"):
        gather(Config(devices=2, num_nodes=2))


def test_a_lost_process_is_told_from_other_errors():
    lost = RuntimeError("[gloo/transport/tcp/pair.cc:547] Connection closed by peer [127.0.0.1]:2345")
    assert (
        Team(0, 2).lost(lost) and Team(1, 2).lost(torch.distributed.DistNetworkError("reset")) and not Team().lost(lost)
    )
    assert not Team(0, 2).lost(RuntimeError("shapes cannot be multiplied"))
    told = TrainingError("x")
    assert Team(0, 2).told(told) is told and isinstance(Team(1, 2).told(told), SystemExit)


@pytest.mark.parametrize("known,waits", [
    ({}, []), ({"RANK": "0", "LOCAL_RANK": "0"}, []), ({"SLURM_PROCID": "0"}, []), ({"RANK": "3"}, [app.PATIENCE]),
    ({"LOCAL_RANK": "1"}, [app.PATIENCE]), ({"SLURM_PROCID": "2"}, [app.PATIENCE]),
])  # fmt: skip
def test_the_first_process_is_given_time_to_speak(known, waits, monkeypatch, capsys):
    for name in ("RANK", "LOCAL_RANK", "SLURM_PROCID"):
        monkeypatch.delenv(name, raising=False)
    for name, value in known.items():
        monkeypatch.setenv(name, value)
    waited = []
    monkeypatch.setattr(app.time, "sleep", waited.append)
    assert app.fail("no such folder") == 2 and capsys.readouterr().err == "error: no such folder\n"
    assert waited == waits and app.speaks() == (not waits)


def test_batch_normalisation_is_shared_or_refused(monkeypatch):
    """One that stays as ImageNet left it has nothing to share; PyTorch shares it between GPUs alone."""
    still = build_model(small_config(("rgb",), backbone="lite0", pretrained=True))
    norms = build_model(small_config(("rgb",), head_norm="BN"))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    for model, team in ((norms, Team()), (still, Team(0, 2))):
        team.synchronised(model)
        assert not any(isinstance(m, nn.SyncBatchNorm) for m in model.modules())
    with pytest.raises(ConfigError, match="heads has batch normalisation"):
        Team(0, 2).synchronised(norms)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    names = list(norms.state_dict())
    Team(0, 2).synchronised(norms)
    kinds = {type(m) for m in norms.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)}
    assert kinds == {nn.SyncBatchNorm} and list(norms.state_dict()) == names
