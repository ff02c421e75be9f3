"""What made a result: the commit, the versions, the machine."""

import subprocess

from rtslib import provenance


def test_commit_and_dirty_look_at_tracked_sources_only(tmp_path):
    def git(*args: str) -> str:
        flags = ["-c", "user.name=a", "-c", "user.email=a@b.invalid", "-c", "commit.gpgsign=false"]
        return subprocess.run(
            ["git", "-C", str(tmp_path), *flags, *args], check=True, capture_output=True, text=True
        ).stdout.strip()

    assert provenance.commit(tmp_path / "nowhere") == {"commit": None, "dirty": None}
    git("init", "--quiet")
    assert provenance.commit(tmp_path) == {"commit": None, "dirty": None}  # before the first commit
    (tmp_path / "results").mkdir()
    (tmp_path / "results" / "t.csv").write_text("1")
    (tmp_path / "a.py").write_text("1")
    git("add", ".")
    git("commit", "--quiet", "--no-verify", "-m", "one")
    head = git("rev-parse", "HEAD")
    (tmp_path / "results" / "t.csv").write_text("2")
    (tmp_path / "new.py").write_text("untracked")
    assert provenance.commit(tmp_path) == {"commit": head, "dirty": False}
    (tmp_path / "a.py").write_text("2")
    assert provenance.commit(tmp_path) == {"commit": head, "dirty": True}


def test_hardware_and_versions_are_filled_in():
    found = provenance.hardware()
    assert found["cores"] >= 1 and found["memory_gib"] > 0.5 and isinstance(found["gpu"], list)
    assert provenance.versions()["torch"].startswith("2.11")
