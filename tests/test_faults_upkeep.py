"""kill -9 inside sync, forget and reindex: the index opens, and the same command completes it."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from lbr_search.config import IndexConfig
from lbr_search.index.manifest import load_manifest
from lbr_search.index.opened import open_index
from lbr_search.index.verify import verify_index
from lbr_search.ingest import build_index
from lbr_search.upkeep.forget import forget, scan
from lbr_search.upkeep.reindex import reindex
from lbr_search.upkeep.sync import sync
from tests.conftest import HashEncoder

CONFIG = IndexConfig(backend="exact", commit_rows=8, encode_batch=8)
SECRET = "copper metabolism of the patient in bed seventeen"
CHILD = """
    import os, signal, sys
    from pathlib import Path
    sys.path.insert(0, {root!r})
    from tests.conftest import HashEncoder
    import lbr_search.index.generation as generation
    import lbr_search.index.reindex as shadows
    import lbr_search.upkeep.forget as forgetting
    import lbr_search.upkeep.reindex as reindexing
    import lbr_search.upkeep.sync as syncing
    from lbr_search.index.store import ChunkStore
    import shutil

    def kill_at(owner, name, call):
        original, calls = getattr(owner, name), 0
        def dying(*args, **options):
            nonlocal calls
            calls += 1
            if calls == call:
                os.kill(os.getpid(), signal.SIGKILL)
            return original(*args, **options)
        setattr(owner, name, dying)

    kill_at({owner}, {name!r}, {call})
    index = Path({index!r})
    {operation}
"""
OPERATIONS = {
    "sync": "syncing.sync(index, encoder=HashEncoder())",
    "forget": "forgetting.forget(index, ['patient.txt'])",
    "reindex": "reindexing.reindex(index, HashEncoder(salt='b'), old_encoder=HashEncoder())",
}
POINTS = [
    ("sync", "ChunkStore", "delete_rows", 1),
    ("sync", "generation", "publish", 1),
    ("sync", "syncing", "save_record", 1),
    ("forget", "ChunkStore", "copy_without", 1),
    ("forget", "generation", "write_payload", 1),
    ("forget", "generation", "publish", 1),
    ("forget", "forgetting", "_purge", 1),
    ("forget", "shutil", "rmtree", 2),
    ("forget", "shutil", "rmtree", 3),
    ("forget", "forgetting", "save_record", 1),
    ("reindex", "HashEncoder", "encode_passages", 4),
    ("reindex", "shadows", "publish", 1),
    ("reindex", "shadows", "publish", 2),
    ("reindex", "shadows", "write_seal", 1),
]
SHORT = {("sync", "publish"), ("forget", "publish"), ("reindex", "write_seal")}


def contents(index: Path) -> list[tuple[object, ...]]:
    with open_index(index, encoder=None) as opened:
        chunks = opened.fetch(opened._payload.row_ids[:])
    return sorted((c.doc_id, c.chunk_no, c.title, c.text) for c in chunks)


def run_again(operation: str, index: Path) -> None:
    """The same command, not killed; a change of encoder may have been made already."""
    if operation == "sync":
        sync(index, encoder=HashEncoder())
    elif operation == "forget":
        forget(index, ["patient.txt"])
    elif load_manifest(index).seal.fingerprint != HashEncoder(salt="b").fingerprint:
        reindex(index, HashEncoder(salt="b"), old_encoder=HashEncoder())


@pytest.mark.parametrize(
    ("operation", "owner", "name", "call"),
    [pytest.param(*p, marks=[] if (p[0], p[2]) in SHORT else [pytest.mark.faults]) for p in POINTS],
)
def test_kill_9_then_the_same_command(tmp_path, operation, owner, name, call):
    """Killed at a point: readers see one whole state; run again, it ends as if undisturbed."""
    tree = tmp_path / "tree"
    tree.mkdir()
    for number in range(30):
        (tree / f"note-{number}.txt").write_text(f"ordinary note number {number} on daily work")
    (tree / "patient.txt").write_text(f"On that day {SECRET}. " * 10)
    killed, undisturbed = tmp_path / "killed", tmp_path / "undisturbed"
    build_index([tree], killed, encoder=HashEncoder(), config=CONFIG)
    shutil.copytree(killed, undisturbed)
    (tree / "note-1.txt").write_text("changed")
    (tree / "note-2.txt").unlink()
    (tree / "new.txt").write_text("new")
    run_again(operation, undisturbed)
    code = textwrap.dedent(CHILD).format(
        root=str(Path(__file__).parent.parent),
        owner=owner,
        name=name,
        call=call,
        index=str(killed),
        operation=OPERATIONS[operation],
    )
    child = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=120
    )
    assert child.returncode == -signal.SIGKILL, child.stderr
    assert len(contents(killed)) >= 30  # one whole state or the other
    run_again(operation, killed)
    assert contents(killed) == contents(undisturbed)
    assert verify_index(killed).problems == []
    fingerprints = [load_manifest(folder).seal.fingerprint for folder in (killed, undisturbed)]
    assert fingerprints[0] == fingerprints[1]
    if operation == "forget":
        assert scan(killed, [SECRET.encode(), b"patient.txt"]) == {}
