"""The code that trains, as a hash: of the syntax trees of all modules that training and prediction import.

Comments and layout of the text do not count, nor do modules that only describe, and knobs are in a run's key. So a
study notices that a run on disk was made by other code, and makes it anew.
"""

import ast
import hashlib
import json
from functools import cache
from pathlib import Path

from rtslib.files import ROOT

#: What makes a run and what is kept in its folder; what these import, directly or not, counts too.
ROOTS = ("rtslib.training.trainer", "rtslib.training.join", "rtslib.training.prediction")
#: Modules whose changes count by value (knobs are in the key) or not at all (they only describe).
APART = ("rtslib.config", "rtslib.provenance")


@cache
def code_hash(root: Path = ROOT) -> str:
    """Return the SHA-256 (64 hexadecimal digits) of the syntax trees; `root` is the folder that holds rtslib."""
    trees: dict[str, str] = {}
    waiting = list(ROOTS)
    while waiting:
        name = waiting.pop()
        path = root / f"{name.replace('.', '/')}.py"
        if name not in trees and name not in APART and path.exists():
            tree = ast.parse(path.read_text(encoding="utf-8"))
            trees[name] = ast.dump(tree)
            waiting += imported(tree)
    return hashlib.sha256(json.dumps(trees, sort_keys=True).encode()).hexdigest()


def imported(tree: ast.AST) -> list[str]:
    """Return what of rtslib a syntax tree imports anywhere, as dotted names; some may be of functions."""
    names = []
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "rtslib":
            names += [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        elif isinstance(node, ast.Import):
            names += [a.name for a in node.names if a.name.split(".")[0] == "rtslib"]
    return names
