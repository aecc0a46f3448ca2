"""States of an index kept by name: gone back to exactly, kept through tidying, not past forget."""

from __future__ import annotations

from pathlib import Path

import pytest

from lbr_search.config import IndexConfig
from lbr_search.errors import ConfigError, IndexFormatError
from lbr_search.index import store as store_module
from lbr_search.index.manifest import load_manifest
from lbr_search.index.verify import verify_index
from lbr_search.ingest import build_index
from lbr_search.search.searcher import Searcher
from lbr_search.upkeep.forget import forget
from lbr_search.upkeep.snapshots import (
    drop_snapshot,
    list_snapshots,
    restore_snapshot,
    take_snapshot,
)
from lbr_search.upkeep.sync import sync
from tests.conftest import HashEncoder
from tests.hash_cli import run

CONFIG = IndexConfig(backend="faiss", commit_rows=8, encode_batch=8)


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    folder = tmp_path / "tree"
    folder.mkdir()
    for number in range(30):
        (folder / f"note-{number}.txt").write_text(f"note {number} on copper and tin")
    return folder


@pytest.fixture
def index(tree: Path, tmp_path: Path, encoder: HashEncoder) -> Path:
    build_index([tree], tmp_path / "index", encoder=encoder, config=CONFIG)
    return tmp_path / "index"


def answers(index: Path, encoder: HashEncoder) -> list[tuple[str, float, str]]:
    hits = Searcher.open(index, encoder=encoder).search("copper note 7", k=50)
    return [(hit.doc_id, hit.score, hit.text) for hit in hits]


def change(tree: Path) -> None:
    """A new file, a changed one and a deleted one."""
    (tree / "late.txt").write_text("a late note on zinc and copper")
    (tree / "note-7.txt").write_text("note 7 says something else now")
    (tree / "note-3.txt").unlink()


def test_an_index_goes_back_to_what_it_was(index: Path, tree: Path, encoder: HashEncoder):
    """The same hits, scores and texts; nothing is encoded; a sync takes up the changes again."""
    before = answers(index, encoder)
    take_snapshot(index, "first")
    change(tree)
    sync(index, encoder=encoder)
    after = answers(index, encoder)
    assert after != before
    next_row, encoded = load_manifest(index).next_row, encoder.n_encoded
    restored = restore_snapshot(index, "first")
    assert encoder.n_encoded == encoded and restored.n_documents == 30
    assert answers(index, encoder) == before
    assert verify_index(index).problems == []
    report = sync(index, encoder=encoder)
    assert report.build is not None
    assert (report.build.n_added, report.build.n_updated, report.build.n_deleted) == (1, 1, 1)
    assert sorted(answers(index, encoder)) == sorted(after)
    assert load_manifest(index).next_row > next_row  # no row id is given twice
    assert [kept.name for kept in list_snapshots(index)] == ["first"]


def test_tidying_keeps_what_a_snapshot_needs(
    index: Path, tree: Path, encoder: HashEncoder, monkeypatch: pytest.MonkeyPatch
):
    """Compaction after every sync; the kept rows are still there, and go when it is dropped."""
    monkeypatch.setattr(store_module.ChunkStore, "is_untidy", True)
    before = answers(index, encoder)
    take_snapshot(index, "kept")
    for number in range(4):
        (tree / f"note-{number}.txt").write_text(f"changed in round {number}")
        sync(index, encoder=encoder)
    restore_snapshot(index, "kept")
    assert answers(index, encoder) == before
    drop_snapshot(index, "kept")
    assert list_snapshots(index) == []
    sync(index, encoder=encoder)
    assert verify_index(index).problems == []


def test_a_forgotten_document_comes_not_back(index: Path, encoder: HashEncoder):
    """Forgetting is refused while a snapshot holds the document, or gives all snapshots up."""
    take_snapshot(index, "a")
    before = answers(index, encoder)
    with pytest.raises(IndexFormatError, match=r"has snapshots \(a\)"):
        forget(index, ["note-5.txt"])
    assert answers(index, encoder) == before
    assert forget(index, ["note-5.txt"], drop_snapshots=True).is_proved
    assert list_snapshots(index) == [] and not (index / "snapshots").exists()
    with pytest.raises(ConfigError, match="no snapshot 'a'"):
        restore_snapshot(index, "a")


def test_names_are_checked(index: Path):
    take_snapshot(index, "a")
    with pytest.raises(ConfigError, match="has a snapshot 'a' already"):
        take_snapshot(index, "a")
    with pytest.raises(ConfigError, match="no snapshot 'b'; it has: a"):
        drop_snapshot(index, "b")
    for name in ("", "../x", ".hidden", "a b"):
        with pytest.raises(ConfigError, match="no name of letters"):
            take_snapshot(index, name)


def test_a_snapshot_that_was_cut_off_is_made_anew(
    index: Path, encoder: HashEncoder, monkeypatch: pytest.MonkeyPatch
):
    """The tag stands, the folder does not: not listed, and the same command completes it."""
    with monkeypatch.context() as patched:
        patched.setattr(Path, "rename", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            take_snapshot(index, "a")
    assert list_snapshots(index) == []
    take_snapshot(index, "a")
    assert [kept.is_reachable for kept in list_snapshots(index)] == [True]
    assert verify_index(index).notes == []


def test_the_commands(tmp_path: Path, tree: Path):
    """Take, list, go back, drop."""
    index = tmp_path / "ix"
    assert run("ingest", tree, "--index", index, "--encoder", "hash:a").code == 0
    assert "30 documents" in run("index", "snapshot", index, "one").out
    change(tree)
    assert run("sync", index).code == 0
    listed = run("index", "snapshots", index, "--json")
    assert '"name": "one"' in listed.out and '"can be restored": "yes"' in listed.out
    assert "30 documents" in run("index", "restore", index, "one").out
    assert run("index", "drop", index, "one").code == 0
    refused = run("index", "restore", index, "one")
    assert refused.code == 1 and "no snapshot 'one'; it has: none" in refused.err
