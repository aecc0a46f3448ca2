"""Ingest under real faults: kill -9, a full disk, a read-only folder, a second writer."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from lbr_search.config import IndexConfig
from lbr_search.errors import IndexFormatError
from lbr_search.index.build import build
from lbr_search.index.manifest import STORE_FOLDER, load_manifest
from lbr_search.index.opened import open_index
from lbr_search.index.store import ChunkStore
from lbr_search.index.verify import verify_index
from lbr_search.types import Chunk
from tests.conftest import HashEncoder

SMALL = IndexConfig(commit_rows=20, encode_batch=10)
CHILD = """
    import os, signal, sys, time
    from pathlib import Path
    sys.path.insert(0, {root!r})
    from tests.conftest import HashEncoder
    from tests.test_faults_ingest import SMALL, chunks
    from lbr_search.index import build as build_module, generation
    from lbr_search.index.build import build
    from lbr_search.index.store import ChunkStore

    def die():
        os.kill(os.getpid(), signal.SIGKILL)

    def kill_at(owner, name, call):
        original, calls = getattr(owner, name), 0
        def dying(*args, **options):
            nonlocal calls
            calls += 1
            if calls == call:
                die()
            return original(*args, **options)
        setattr(owner, name, dying)

    {fault}
    build(chunks(120, {version}), encoder=encoder, folder=Path({folder!r}), config=SMALL)
"""
FAULTS = {
    "while encoding": "kill_at(HashEncoder, 'encode_passages', 7)",
    "between adding and deleting": "kill_at(ChunkStore, 'delete_rows', 3)",
    "before publishing": "kill_at(generation, 'publish', 1)",
}


def chunks(n: int, version: int = 0) -> Iterator[Chunk]:
    """`n` documents of one to three chunks; every third document changes with the version."""
    for i in range(n):
        changed = version if i % 3 == 0 else 0
        for number in range(1 + i % 3):
            text = f"part {number} of document {i} in version {changed}"
            yield Chunk(
                doc_id=f"d{i}",
                chunk_no=number,
                text=text,
                start=number * 100,
                end=number * 100 + len(text),
                doc_hash=f"{i} {changed}",
                metadata={"year": 2000 + i},
            )


def run_child(folder: Path, fault: str, version: int = 0) -> subprocess.Popen[str]:
    code = textwrap.dedent(CHILD).format(
        root=str(Path(__file__).parent.parent),
        fault="encoder = HashEncoder()\n" + fault,
        folder=str(folder),
        version=version,
    )
    return subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def published(folder: Path) -> dict[tuple[str, int], tuple]:
    """Everything of the published index but its row ids, and that no chunk stands twice."""
    manifest = load_manifest(folder)
    store = ChunkStore.open_version(folder / STORE_FOLDER, manifest.store_version)
    found = {}
    for batch in store.scan(["doc_id", "chunk_no", "text", "start", "end", "year", "vector"]):
        for row in batch.to_pylist():
            key = (row["doc_id"], row["chunk_no"])
            assert key not in found, f"{key} stands twice"
            found[key] = (row["text"], row["start"], row["end"], row["year"], *row["vector"])
    return found


@pytest.mark.parametrize("fault", FAULTS)
def test_kill_9_then_the_same_ingest_gives_the_same_index(tmp_path: Path, fault: str) -> None:
    """Killed in an update: readers keep the old index; the rerun ends as if nothing happened."""
    folder, undisturbed, encoder = tmp_path / "ix", tmp_path / "undisturbed", HashEncoder()
    for target in (folder, undisturbed):
        build(chunks(100, 0), encoder=encoder, folder=target, config=SMALL)
    before = published(folder)
    child = run_child(folder, FAULTS[fault], version=1)
    _, errors = child.communicate(timeout=120)
    assert child.returncode == -signal.SIGKILL, errors
    assert published(folder) == before
    with open_index(folder, encoder=encoder) as index:
        rows, _ = index.dense(encoder.encode_queries(["part 0 of document 3"]), k=1)
        assert index.doc_ids(rows[0]) == ["d3"]

    report = build(chunks(120, 1), encoder=encoder, folder=folder, config=SMALL)
    whole = build(chunks(120, 1), encoder=encoder, folder=undisturbed, config=SMALL)
    assert published(folder) == published(undisturbed)
    assert report.n_resumed > 0
    assert report.n_encoded < whole.n_encoded
    assert report.n_resumed + report.n_added + report.n_updated == whole.n_added + whole.n_updated
    assert verify_index(folder).problems == []


def test_kill_9_in_the_first_ingest_loses_and_repeats_nothing(tmp_path: Path) -> None:
    """At any moment, by the clock: a half-written index is told apart, and finished by a rerun."""
    folder, encoder = tmp_path / "ix", HashEncoder()
    slow = (
        "encode = HashEncoder.encode_passages\n"
        "HashEncoder.encode_passages = lambda *a, **o: (time.sleep(0.05), encode(*a, **o))[1]"
    )
    child = run_child(folder, slow)
    waited = time.monotonic() + 60
    while not list(folder.glob("store/chunks.lance/data/*")):
        assert child.poll() is None, child.communicate()[1]
        assert time.monotonic() < waited, "the child committed nothing"
        time.sleep(0.01)
    child.kill()
    child.communicate()
    with pytest.raises(IndexFormatError, match="half written"):
        open_index(folder, encoder=encoder)
    report = build(chunks(120), encoder=encoder, folder=folder, config=SMALL)
    assert report.n_resumed + report.n_added == 120
    build(chunks(120), encoder=encoder, folder=tmp_path / "undisturbed", config=SMALL)
    assert published(folder) == published(tmp_path / "undisturbed")
    assert load_manifest(folder).totals["n_encoded"] == 240


def test_a_second_writer_is_refused_at_once_and_named(tmp_path: Path) -> None:
    """While one process writes, another fails with its id and host; after its death all is free."""
    folder, encoder = tmp_path / "ix", HashEncoder()
    child = run_child(folder, "HashEncoder.encode_passages = lambda *a, **o: time.sleep(60)")
    holder = folder / "lock.holder.json"
    waited = time.monotonic() + 60
    while not holder.exists():
        assert child.poll() is None, child.communicate()[1]
        assert time.monotonic() < waited, "the child took no lock"
        time.sleep(0.01)
    started = time.monotonic()
    with pytest.raises(IndexFormatError, match="another process is writing") as refused:
        build(chunks(3), encoder=encoder, folder=folder, config=SMALL)
    assert time.monotonic() - started < 5
    assert f"process {child.pid} on {os.uname().nodename}" in refused.value.message
    child.kill()
    child.communicate()
    assert build(chunks(3), encoder=encoder, folder=folder, config=SMALL).n_added == 3


@pytest.fixture
def mounted(tmp_path: Path) -> Iterator[tuple[Path, object]]:
    """A folder, and a function that mounts something on it; unmounted afterwards."""
    folder = tmp_path / "mounted"
    folder.mkdir()

    def mount(*arguments: str) -> None:
        done = subprocess.run(
            ["mount", *arguments, str(folder)], capture_output=True, text=True, check=False
        )
        if done.returncode:
            pytest.skip(f"mounting is not permitted here: {done.stderr.strip()}")

    yield folder, mount
    # lazily: maps of the index may still be open
    subprocess.run(["umount", "--lazy", str(folder)], capture_output=True, check=False)


@pytest.mark.skipif(sys.platform != "linux", reason="mounts a tmpfs, as Linux has it")
def test_a_full_disk_is_told_and_what_was_committed_is_kept(tmp_path: Path, mounted) -> None:
    """On a tmpfs that fills up: an error with the fix; with more room the same ingest ends well."""
    folder, mount = mounted
    mount("-t", "tmpfs", "-o", "size=600k", "tmpfs")
    encoder = HashEncoder(dim=256)
    many = IndexConfig(commit_rows=50, encode_batch=50)
    with pytest.raises(IndexFormatError, match="no space left") as full:
        build(chunks(600), encoder=encoder, folder=folder / "ix", config=many)
    assert "run the same command again" in full.value.fix
    subprocess.run(["mount", "-o", "remount,size=64m", str(folder)], check=True)
    report = build(chunks(600), encoder=encoder, folder=folder / "ix", config=many)
    assert report.n_resumed > 0
    assert report.n_resumed + report.n_added == 600
    assert len(published(folder / "ix")) == 1200
    assert verify_index(folder / "ix").problems == []


@pytest.mark.skipif(sys.platform != "linux", reason="mounts a tmpfs, as Linux has it")
def test_a_read_only_folder_can_be_read_and_not_written(tmp_path: Path, mounted) -> None:
    """Ingest says that it cannot write; search, filters and verification work."""
    folder, mount = mounted
    mount("-t", "tmpfs", "-o", "size=64m", "tmpfs")
    encoder = HashEncoder()
    build(chunks(10), encoder=encoder, folder=folder / "ix", config=SMALL)
    subprocess.run(["mount", "-o", "remount,ro", str(folder)], check=True)
    for target in (folder / "ix", folder / "new"):
        with pytest.raises(IndexFormatError, match="cannot be written") as refused:
            build(chunks(12), encoder=encoder, folder=target, config=SMALL)
        assert "--index DIR" in refused.value.fix
    with open_index(folder / "ix", encoder=encoder) as index:
        assert index.filter("year = 2004").tolist() == [7, 8]
        rows, _ = index.lexical(["document 4"], k=5)
        assert rows[0, 0] >= 0
    assert verify_index(folder / "ix").problems == []


def test_a_flipped_byte_is_found_by_verification(tmp_path: Path) -> None:
    """Sizes are checked at open; hashes by `verify_index`, file by file."""
    folder = tmp_path / "ix"
    build(chunks(10), encoder=HashEncoder(), folder=folder, config=SMALL)
    name = "gen-000001/payload/payload.arrow"
    content = bytearray((folder / name).read_bytes())
    content[len(content) // 2] ^= 1
    (folder / name).write_bytes(content)
    (folder / "store" / "columns.json").touch()
    assert verify_index(folder).problems == [f"{name}: its bytes are not those that were published"]


def test_the_lock_file_tells_who_held_it(tmp_path: Path) -> None:
    """The holder's file names this process and host in plain JSON."""
    build(chunks(2), encoder=HashEncoder(), folder=tmp_path / "ix", config=SMALL)
    holder = json.loads((tmp_path / "ix" / "lock.holder.json").read_text())
    assert (holder["pid"], holder["host"]) == (os.getpid(), os.uname().nodename)
