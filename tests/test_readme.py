"""The README is short, shows before it tells, links what it names, and every command in it runs."""

import re
import shlex
from pathlib import Path

import pytest

from helpers.commands import targets
from rtslib.cli.main import main

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
#: What is typed -> what a test runs in its place, in seconds instead of minutes. The rest stays as it is.
TOY = {"--profile quick": "--profile smoke", "'own', 2048": "'own', 512"}


def blocks(text: str = README) -> list[list[str]]:
    """The commands of each block of shell, without comments, continued lines joined."""
    found = re.findall(r"^```bash\n(.*?)^```$", text, re.M | re.S)
    lines = [re.sub(r" +#.*$", "", block.replace("\\\n", ""), flags=re.M).splitlines() for block in found]
    return [[line.strip() for line in part if line.strip()] for part in lines]


def test_it_is_short_and_a_picture_comes_first():
    assert len(README.split()) <= 1200
    pictures = re.findall(r"!\[[^]]+\]\(([^)]+)\)|<img src=\"([^\"]+)\" width=\"\d+\" alt=\"[^\"]+\">", README)
    pictures = [a or b for a, b in pictures]
    assert len(pictures) == 4 and README.index(pictures[0]) < README.index("\n## ")
    assert pictures[0].endswith("map_page.png") and all((ROOT / p).is_file() for p in pictures)
    real = ("sentinel", "maxar")  # their pictures would show pixels of real ground
    assert not [p for p in pictures if any(name in p for name in real)]


def test_files_and_dois_are_links():
    linked = re.sub(r"\[[^]]*\]\([^)]*\)", "", re.sub(r"^```.*?^```$", "", README, flags=re.M | re.S))
    assert not [span for span in re.findall(r"`([^`]+)`", linked) if (ROOT / span).is_file()]
    assert not re.findall(r"10\.\d{4,}/|\b\d{4}\.\d{5}\b", linked)


def test_no_badge_says_what_nobody_checks():
    assert "shields.io" not in README and "badge" not in README


def test_start_names_targets_that_exist():
    (clone, *rest), own, made_up = blocks()
    assert clone == "git clone ADDRESS rtslib && cd rtslib"
    assert rest == ["make install", "make reproduce"] and {r.split()[1] for r in rest} <= targets()
    assert [line.split()[1] for line in own] == ["chips", "train", "map", "evaluate"]  # the two below run them all
    assert made_up[0].startswith("python -c ") and made_up[1:] == ["cd own"]
    assert set(re.findall(r"`make (\w+)`", README)) <= targets()


def test_your_own_data_in_four_commands(tmp_path, monkeypatch, capsys):
    """The files of a made-up place, then chips, train, map and evaluate, as they stand there, at toy size."""
    _, own, (made_up, cd) = blocks()
    for typed, toy in TOY.items():
        own, made_up = [line.replace(typed, toy) for line in own], made_up.replace(typed, toy)
    monkeypatch.chdir(tmp_path)
    exec(shlex.split(made_up)[2], {})
    monkeypatch.chdir(tmp_path / cd.split()[1])
    for line in own:
        program, *arguments = shlex.split(line)
        assert program == "rtslib" and main(arguments) == 0, (line, capsys.readouterr().err)
    assert {"detections.gpkg", "candidates.gpkg", "map.html", "totals.json"} <= {p.name for p in Path("map").iterdir()}
    assert "ha known" in capsys.readouterr().out  # what the map says beside what is known


def test_commands_are_found_in_blocks():
    text = "```bash\na --b \\\n    c   # d\n\ne\n```\n`f`\n```python\ng\n```\n"
    assert blocks(text) == [["a --b     c", "e"]]


@pytest.mark.parametrize("name", sorted(p.relative_to(ROOT).as_posix() for p in (ROOT / "docs").rglob("*.md")))
def test_pages_name_commands_and_targets_that_exist(name):
    """Commands in docs are not run, as they name data of yours; but each exists, with all options that it is given."""
    text = (ROOT / name).read_text(encoding="utf-8")
    for line in (line for block in blocks(text) for line in block):
        if line.startswith("rtslib ") or line.startswith("python -m rtslib "):
            words = shlex.split(line.removeprefix("python -m "))[1:]
            assert unknown(words) == [], line
    assert set(re.findall(r"\bmake (\w+)`", text)) <= targets()


def unknown(words: list[str]) -> list[str]:
    """What of a command's words the command line does not know: itself, or an option."""
    import typer

    from rtslib.cli.app import app

    command = typer.main.get_command(app)
    while words and hasattr(command, "commands") and not words[0].startswith("-"):
        if words[0] not in command.commands:
            return words[:1]
        command, words = command.commands[words[0]], words[1:]
    known = {"--help"} | {name for p in command.params for name in (*p.opts, *p.secondary_opts)}
    return [w for w in words if w.startswith("--") and w not in known]


def test_an_unknown_option_is_seen():
    assert unknown(["map", "--run", "x"]) == [] and unknown(["workbook", "run", "--only", "3"]) == []
    assert unknown(["mapp"]) == ["mapp"] and unknown(["map", "--rum", "x"]) == ["--rum"]
