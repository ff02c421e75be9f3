"""The command line: all commands, and how they end.

What a user can mend (a wrong file, knob or option, a full disk) ends with one line `error: ...` on stderr
and exit code 2. A traceback is a bug in rtslib.
"""

import os
import sys
from pathlib import Path
from typing import Any

import typer

# isort: off
from rtslib.cli import (  # noqa: F401 (each adds its commands, in this order)
    chips, doctor, fetch, runs, challenge, distill, maps, workbook, benchmarks,
)  # fmt: skip

# isort: on
from rtslib.cli.app import app, fail
from rtslib.errors import RtsError

#: Base class of typer's usage errors, which not every release exports.
UsageError: Any = typer.BadParameter.__mro__[2]


def main(argv: list[str] | None = None) -> int:
    """Run the command line and return its exit code: 0, or 2 after one line `error: ...` on stderr.

    Args:
        argv: arguments without the program's name; None takes those of the process.
    """
    try:
        code = typer.main.get_command(app).main(argv, prog_name=_program(), standalone_mode=False)
        sys.stdout.flush()
        return code if isinstance(code, int) else 0
    except BrokenPipeError:  # whoever reads the output has seen enough
        _let_go_of_stdout()
        return 1
    except UsageError as e:
        command = e.ctx.command_path if getattr(e, "ctx", None) else _program()
        return fail(f"{e.format_message().rstrip('.')} (see {command} --help)")
    except RtsError as e:
        return fail(str(e))
    except OSError as e:
        _let_go_of_stdout()
        return fail(f"{e.filename}: {e.strerror}" if e.filename and e.strerror else str(e))


def _program() -> str:
    """What was typed to come here: `rtslib`, where pip put it on the path, or `python -m rtslib`."""
    return "rtslib" if Path(sys.argv[0]).stem == "rtslib" else "python -m rtslib"


def _let_go_of_stdout() -> None:
    """Point standard output to nowhere if it cannot be written, else Python complains again at exit."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
