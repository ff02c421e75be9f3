"""Tasks for processes of their own: one that works, one that fails as we do, one that takes its process with it."""

import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import ClassVar

from rtslib.errors import DataError


def fine() -> float:
    return 7.0


def error() -> float:
    raise DataError("a.tif", "nothing", "something")


def killed() -> float:
    os.kill(os.getpid(), signal.SIGKILL)
    return 0.0


@dataclass(frozen=True)
class FakeRun:
    """What `rtslib.study.grid` asks of a run: this one writes when it began and ended."""

    label: str
    folder: str
    after: tuple["FakeRun", ...] = ()
    is_done: bool = False
    study: ClassVar = SimpleNamespace(profile="fake", data="")
    wanted: ClassVar = ()

    @property
    def starts(self) -> dict[str, "FakeRun"]:
        return {run.label: run for run in self.after}

    def make(self, progress: bool) -> None:
        start = time.time()
        time.sleep(1)
        Path(self.folder, self.label).write_text(f"{start} {time.time()}")
