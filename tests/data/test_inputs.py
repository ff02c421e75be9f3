"""Inputs of a map by their content."""

import os

import pytest

from rtslib.data import inputs
from rtslib.data.inputs import content
from rtslib.errors import DataError


def test_a_change_at_equal_size_and_time_is_seen_and_a_touch_is_none(tmp_path):
    file = tmp_path / "a.tif"
    file.write_bytes(b"a" * 1000)
    stat, before = file.stat(), content(file)
    os.utime(file, ns=(0, 0))
    assert content(file) == before
    file.write_bytes(b"a" * 500 + b"b" + b"a" * 499)
    os.utime(file, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert content(file) != before and content(file).startswith("1000 ")


def test_of_large_files_pieces_are_read(tmp_path, monkeypatch):
    monkeypatch.setattr(inputs, "WHOLE", 1000)
    monkeypatch.setattr(inputs, "PIECE", 10)
    monkeypatch.setattr(inputs, "PIECES", 5)
    file, bytes_ = tmp_path / "a.tif", bytearray(2000)
    seen = set()
    for at in (None, 0, 1999, 998, 400):  # the fourth lies in the middle piece, the last one in none
        changed = bytearray(bytes_)
        if at is not None:
            changed[at] = 1
        file.write_bytes(changed)
        seen.add(content(file))
    assert len(seen) == 4 and all(s.endswith("of pieces") for s in seen)


def test_what_is_no_local_file(tmp_path):
    assert content("https://example.org/a.tif") is None and content("/vsicurl/https://example.org/a.tif") is None
    with pytest.raises(DataError, match="no such file"):
        content(tmp_path / "gone.tif")
