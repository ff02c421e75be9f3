"""Tasks for `rtslib.study.process`: one that works, one that fails as we do, one that takes its process with it."""

import os
import signal

from rtslib.errors import DataError


def fine() -> float:
    return 7.0


def error() -> float:
    raise DataError("a.tif", "nothing", "something")


def killed() -> float:
    os.kill(os.getpid(), signal.SIGKILL)
    return 0.0
