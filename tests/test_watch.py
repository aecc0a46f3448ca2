"""An index follows its sources: files that come, change, vanish and return."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from lbr_search.config import IndexConfig
from lbr_search.errors import LbrError
from lbr_search.index.lock import single_writer
from lbr_search.index.opened import open_index
from lbr_search.ingest import build_index
from lbr_search.upkeep import watch as module
from lbr_search.upkeep.sync import SyncReport
from tests.conftest import HashEncoder
from tests.hash_cli import run

CONFIG = IndexConfig(backend="exact")


class Followed:
    """A watch in a thread, and what it told."""

    def __init__(self, index: Path) -> None:
        self.reports: list[SyncReport] = []
        self.errors: list[LbrError] = []
        self.stop = threading.Event()
        self._thread = threading.Thread(target=self._run, args=(index,))
        self._thread.start()

    def _run(self, index: Path) -> None:
        module.watch(
            index,
            on_sync=self.reports.append,
            on_error=self.errors.append,
            stop=self.stop,
            encoder=HashEncoder(),
        )

    def until(self, condition: Callable[[], bool]) -> None:
        waited = time.monotonic() + 30
        while not condition():
            assert self._thread.is_alive(), "the watch ended"
            assert time.monotonic() < waited, (self.reports, self.errors)
            time.sleep(0.05)

    def until_quiet(self) -> None:
        """No sync for a second; one that its own writes set off would never be the last."""
        seen, since = len(self.reports), time.monotonic()

        def is_quiet() -> bool:
            nonlocal seen, since
            if len(self.reports) != seen:
                seen, since = len(self.reports), time.monotonic()
            return time.monotonic() - since > 1

        self.until(is_quiet)

    def end(self) -> None:
        self.stop.set()
        self._thread.join(timeout=30)
        assert not self._thread.is_alive()


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    folder = tmp_path / "tree"
    (folder / "deep").mkdir(parents=True)
    for number in range(5):
        (folder / f"note-{number}.txt").write_text(f"note number {number}")
    return folder


@pytest.fixture
def index(tree: Path, tmp_path: Path, encoder) -> Path:
    (tmp_path / "rows.jsonl").write_text('{"_id": "r1", "text": "one"}\n')
    folder = tree / "index"  # below its own source: what it writes is no change
    sources = [tree, tmp_path / "rows.jsonl"]
    build_index(sources, folder, encoder=encoder, config=CONFIG)
    return folder


@pytest.fixture
def followed(index: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Followed]:
    monkeypatch.setattr(module, "DEBOUNCE_MS", 200)
    monkeypatch.setattr(module, "LOOK_MS", 100)
    watch = Followed(index)
    watch.until(lambda: len(watch.reports) == 1)
    yield watch
    watch.end()


def ids(index: Path) -> set[str]:
    with open_index(index, encoder=None) as opened:
        return set(opened.doc_ids(opened._payload.row_ids[:]))


def test_files_that_come_change_and_go(followed, index, tree):
    """Each is in the index a moment later; the index's own files set off nothing."""
    (tree / "deep/new.txt").write_text("something new")
    followed.until(lambda: "deep/new.txt" in ids(index))
    (tree / "note-1.txt").unlink()
    followed.until(lambda: "note-1.txt" not in ids(index))
    followed.until_quiet()
    assert followed.errors == []


def test_a_single_file_that_is_replaced(followed, index, tmp_path):
    """Editors write another file and rename it: no watch on the old one would see that."""
    (tmp_path / "rows.tmp").write_text('{"_id": "r2", "text": "two"}\n')
    (tmp_path / "rows.tmp").replace(tmp_path / "rows.jsonl")
    followed.until(lambda: "r2" in ids(index))
    assert "r1" not in ids(index)


def test_a_source_that_vanishes_and_returns(followed, index, tree, tmp_path):
    """Nothing is deleted, the error is told once, and the source is followed again."""
    (tmp_path / "rows.jsonl").rename(tmp_path / "elsewhere.jsonl")
    followed.until(lambda: len(followed.errors) == 1)
    assert "is gone; nothing was changed" in followed.errors[0].message
    (tree / "note-9.txt").write_text("written while the other source is away")
    time.sleep(1)
    assert (len(followed.errors), "r1" in ids(index)) == (1, True)
    (tmp_path / "elsewhere.jsonl").rename(tmp_path / "rows.jsonl")
    followed.until(lambda: "note-9.txt" in ids(index))
    assert "r1" in ids(index)


def test_a_folder_that_is_replaced_is_followed_again(index, tree, tmp_path, monkeypatch):
    """Its new files are seen, though the system's watch was on the old folder."""
    monkeypatch.setattr(module, "DEBOUNCE_MS", 200)
    monkeypatch.setattr(module, "LOOK_MS", 100)
    outside = tmp_path / "index"
    index.rename(outside)
    watch = Followed(outside)
    watch.until(lambda: len(watch.reports) == 1)
    tree.rename(tmp_path / "away")
    watch.until(lambda: len(watch.errors) == 1)
    (tmp_path / "away").rename(tree)
    watch.until(lambda: len(watch.reports) == 2)
    (tree / "late.txt").write_text("late")
    watch.until(lambda: "late.txt" in ids(outside))
    watch.end()


def test_another_writer_is_waited_for(followed, index, tree, monkeypatch):
    """The lock is held in a sync only; one that is refused is tried again."""
    monkeypatch.setattr(module, "RETRY_SECONDS", 0.5)
    with single_writer(index):
        (tree / "new.txt").write_text("new")
        followed.until(lambda: len(followed.errors) == 1)
    followed.until(lambda: "new.txt" in ids(index))


def test_ctrl_c_ends_it_cleanly(index, tmp_path):
    """Waiting, it writes nothing: exit 0, and the index can be written by others."""
    made = run("ingest", tmp_path / "rows.jsonl", "--index", tmp_path / "ix", "--encoder", "hash:a")
    assert made.code == 0, made.err
    child = subprocess.Popen(
        [sys.executable, "-m", "tests.hash_cli", "sync", str(tmp_path / "ix"), "--watch"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parent.parent,
        env={**os.environ, "PYTHONUNBUFFERED": "1", "COLUMNS": "400"},  # a line a message
    )
    assert child.stdout is not None
    assert "in step" in child.stdout.readline()
    time.sleep(0.5)
    child.send_signal(signal.SIGINT)
    _, errors = child.communicate(timeout=30)
    assert child.returncode == 0, errors
    assert "nothing was being written" in errors
    with single_writer(tmp_path / "ix"):
        pass


def test_it_is_neither_a_plan_nor_a_removal(index):
    """Options that contradict each other are refused."""
    done = run("sync", index, "--watch", "--dry-run")
    assert done.code == 1
    assert "--watch goes with neither" in done.err
