"""One process a run: its peak memory is its own, and a run that dies takes nothing with it.

This is what a worker does, and it imports nothing heavy: the run, pickled, goes to a fresh process, and its answer
comes back. That process ends when the worker is gone: one that outlives a killed study would write into the next one's.
"""

import os
import pickle
import subprocess
import sys
import threading
import time
from pathlib import Path
from tempfile import TemporaryDirectory

from rtslib.errors import TrainingError

_CHILD = "from rtslib.study.process import answer; answer()"


def in_own_process(task: bytes, threads: int, *after: float) -> float:
    """Make a run and its predictions in a process of its own.

    Args:
        task: a pickled function without arguments that returns the seconds it took.
        threads: of PyTorch there; 0: as many as it takes by itself.
        after: answers of the runs that this one starts from, so that it waits for them.

    Returns:
        The seconds.

    Raises:
        TrainingError: the process died. RtsError: as the run.
    """
    env = {**os.environ, **({"OMP_NUM_THREADS": str(threads)} if threads else {})}
    # Dask has its workers hand free memory back at once: every step then asks for all of it anew, and takes 1.5 times.
    env.pop("MALLOC_TRIM_THRESHOLD_", None)
    env.pop("SLURM_STEP_NUM_TASKS", None)  # tasks of Slurm are workers here, not the processes of one training
    with TemporaryDirectory() as folder:
        file = Path(folder) / "answer"
        given = pickle.dumps((task, str(file), os.getpid()))
        done = subprocess.run([sys.executable, "-c", _CHILD], input=given, env=env, check=False)
        if not file.exists():
            raise TrainingError(
                f"the process of a run died (exit {done.returncode}), most often for lack of memory: take fewer"
                " workers, and start the study again, which goes on where it stopped"
            )
        found = pickle.loads(file.read_bytes())
    if isinstance(found, BaseException):
        raise found
    return found


def answer() -> None:
    """Do what came by standard input, in the fresh process; leave the answer or the error in the file named there."""
    task, file, parent = pickle.loads(sys.stdin.buffer.read())
    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()
    try:
        found = pickle.loads(task)()
    except Exception as e:
        found = e
    part = Path(file).with_suffix(".part")
    part.write_bytes(pickle.dumps(found))
    os.replace(part, file)


def _end_with(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(0.5)
    os._exit(1)
