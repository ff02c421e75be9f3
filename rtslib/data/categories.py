"""Categories: which class of a COCO file is the slump.

Tools number classes from 0 or 1, and name them as people do (`RTS`, `thaw slump`). So one class is the class. Some add
classes that hold no annotation: a *parent* that another class names as its supercategory, or a background. They do not
count. Of several others the user has to name one; annotations of the rest are left out.
"""

from pathlib import Path
from typing import Any, NamedTuple

from rtslib.data.chips import CATEGORY
from rtslib.errors import ConfigError, DataError

_BACKGROUND = {"background", "ignore"}


class Chosen(NamedTuple):
    """The slump's class: its ids, all listed ids, the name that was asked for, and notes."""

    ids: frozenset[int]
    listed: frozenset[int]
    asked: str
    notes: tuple[str, ...]


def slump_category(path: Path, categories: list, annotations: list, asked: str = "") -> Chosen:
    """Find the class that is the slump.

    Args:
        path: of the COCO file, for errors.
        categories, annotations: as parsed from JSON, not checked.
        asked: name of the class, in any case; "": there has to be one.

    Raises:
        ConfigError: no class has the name that was asked for.
        DataError: a class without a whole number as id or without a name, an id twice, no class, or several.
    """
    names = _names(path, categories)
    used: dict[Any, int] = {}
    for entry in annotations:
        label = entry.get("category_id") if isinstance(entry, dict) else None
        if type(label) is int:
            used[label] = used.get(label, 0) + 1
    if asked:
        ids = [i for i, name in names.items() if name.casefold() == asked.casefold()]
        if not ids:
            raise ConfigError(f"no category {asked!r} in {path}: there are {', '.join(sorted(set(names.values())))}")
    else:
        every = list(names.values())
        parents = {n for n in every if any(c.get("supercategory") == n != c["name"] for c in categories)}
        twins = {n for n in every if every.count(n) > 1}
        ids = [i for i, n in names.items() if i in used or not (_no_class(n) or n in parents | twins)]
        if len(ids) != 1:
            said = ", ".join(f"{names[i]!r} ({used.get(i, 0)} annotations)" for i in ids) or "none"
            raise DataError(
                f"{path}, categories", f"{len(ids)}: {said}", "one", "say which is the slump: --category NAME"
            )
    return Chosen(frozenset(ids), frozenset(names), asked if len(names) > 1 else "", _notes(names, ids, used))


def _names(path: Path, categories: list) -> dict[int, str]:
    """Return id -> name of the listed classes."""
    names: dict[int, str] = {}
    for k, entry in enumerate(categories):
        where = f"{path}, category at position {k}"
        number, name = (entry.get("id"), entry.get("name")) if isinstance(entry, dict) else (None, None)
        if type(number) is not int or not isinstance(name, str) or not name:
            raise DataError(where, f"{entry!r}", "an object with a whole number as id, and a name")
        if number in names:
            raise DataError(where, f"id {number} a second time", "each category id once")
        names[number] = name
    return names


def _no_class(name: str) -> bool:
    """Tell whether a class is there for what is none."""
    return "".join(filter(str.isalpha, name)).lower() in _BACKGROUND


def _notes(names: dict[int, str], ids: list[int], used: dict[Any, int]) -> tuple[str, ...]:
    """Say which class was taken if that is not the one of the challenge, and what was left out."""
    notes = []
    if [(i, names[i]) for i in ids] != [(CATEGORY["id"], CATEGORY["name"])]:
        notes.append(f"Category {names[ids[0]]!r} (id {', '.join(map(str, ids))}) is taken as rts.")
    if left := {names[i]: used[i] for i in names if i in used and i not in ids}:
        notes.append(f"{sum(left.values())} annotations of {', '.join(sorted(left))} are left out.")
    return tuple(notes)
