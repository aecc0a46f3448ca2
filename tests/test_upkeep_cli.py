"""sync, forget, reindex, verify and export from the command line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.hash_cli import run


@pytest.fixture
def index(tmp_path: Path) -> Path:
    tree = tmp_path / "tree"
    tree.mkdir()
    for number in range(12):
        (tree / f"note-{number}.md").write_text(f"# Note {number}\n\nText of number {number}.\n")
    folder = tmp_path / "index"
    made = run("ingest", tree, "--index", folder, "--encoder", "hash:a", "--backend", "exact")
    assert made.code == 0, made.err
    return folder


def test_sync_shows_the_plan_and_does_it(index, tmp_path):
    """A dry run says what the run does; then there is nothing to do."""
    (tmp_path / "tree/new.md").write_text("# New\n\nWords.\n")
    (tmp_path / "tree/note-3.md").unlink()
    planned = run("sync", index, "--dry-run")
    assert planned.code == 0
    shown = " ".join(planned.out.split())
    assert "1 new (new.md); 1 deleted (note-3.md)" in shown
    assert "nothing was changed" in planned.err
    done = run("sync", index, "--json")
    assert json.loads(done.out)["build"]["n_added"] == 1
    again = run("sync", index)
    assert "in step" in again.out


def test_forget_proves_it(index):
    """What was found before is told, and that nothing is found now."""
    done = run("forget", "note-5.md", "--index", index)
    assert done.code == 0
    assert "1 documents removed" in done.out
    assert "none of" in done.out
    assert "is not read again" in done.err
    wrong = run("forget", "note-5x.md", "--index", index)
    assert wrong.code == 1
    assert "no document 'note-5x.md'" in wrong.err


def test_reindex_swaps_and_goes_back(index):
    """Another encoder takes over; the old one is there until it is dropped."""
    done = run("reindex", index, "--encoder", "hash:b", "--json")
    assert done.code == 0, done.err
    assert json.loads(done.out)["after"] == "hash-b"
    assert run("query", "number 7", "--index", index).code == 0
    assert "back to hash-a" in run("reindex", index, "--take-back").out
    assert run("reindex", index, "--encoder", "hash:b").code == 0
    dropped = " ".join(run("reindex", index, "--drop-old").out.split())  # lines break anywhere
    assert "dropped the state of hash-a" in dropped
    both = run("reindex", index, "--drop-old", "--take-back")
    assert both.code == 1
    assert "one thing at a time" in both.err
