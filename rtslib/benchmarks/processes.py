"""A process of its own for each measurement: it has its own peak of memory, and nothing of another in its caches."""

import json
import os
import subprocess
import sys
from typing import Any

from rtslib.errors import RtsError

_ONE = """
import json, sys
from importlib import import_module
module, name = sys.argv[1].split(":")
getattr(import_module(module), name)(json.loads(sys.argv[2]))
"""


def apart(function: str, given: Any, **environment: str) -> Any:
    """Call a function in a new process; return what it prints last.

    Args:
        function: `module:name`; takes one argument and prints its answer as a line of JSON.
        given: that argument, of JSON's types.
        environment: variables set beside those of this process.

    Raises:
        RtsError: it failed; says how.
    """
    command = [sys.executable, "-c", _ONE, function, json.dumps(given)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env={**os.environ, **environment})
    if done.returncode:
        raise RtsError(" ".join(done.stderr.splitlines()[-1:]) or f"exit code {done.returncode}")
    return json.loads(done.stdout.splitlines()[-1])
