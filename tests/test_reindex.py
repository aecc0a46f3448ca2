"""Another encoder takes over from stored texts, in one step that can be taken back."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from lbr_search.config import ChunkConfig, IndexConfig
from lbr_search.errors import IndexFormatError, SealError
from lbr_search.index import reindex as shadows
from lbr_search.index.lock import single_writer
from lbr_search.index.manifest import load_manifest, load_seal
from lbr_search.index.opened import open_index
from lbr_search.index.store import ChunkStore
from lbr_search.index.verify import verify_index
from lbr_search.ingest import build_index
from lbr_search.upkeep.forget import forget
from lbr_search.upkeep.reindex import reindex
from lbr_search.upkeep.sync import sync
from tests.conftest import HashEncoder

CONFIG = IndexConfig(backend="exact", commit_rows=8, encode_batch=8)


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    folder = tmp_path / "tree"
    folder.mkdir()
    for number in range(30):
        words = " ".join(f"word{number}x{n}" for n in range(60))
        (folder / f"note-{number}.txt").write_text(f"note {number} {words}")
    return folder


@pytest.fixture
def index(tree: Path, tmp_path: Path, encoder) -> Path:
    build_index(
        [tree], tmp_path / "index", encoder=encoder, config=CONFIG, chunk=ChunkConfig(32, 4)
    )
    return tmp_path / "index"


def texts(index: Path) -> list[tuple[str, int, str, int]]:
    with open_index(index, encoder=None) as opened:
        chunks = opened.fetch(opened._payload.row_ids[:])
    return [(c.doc_id, c.chunk_no, c.text, c.start) for c in chunks]


def test_texts_stay_and_vectors_are_those_of_the_new_encoder(index, encoder, other_encoder):
    """Every chunk is there, searched by the new encoder, refused to the old one."""
    before = texts(index)
    report = reindex(index, other_encoder, old_encoder=encoder)
    assert texts(index) == before
    assert (report.before, report.after) == ("hash-a", "hash-b")
    assert report.shadow.n_encoded == len(before)
    assert report.comparison.own == report.comparison.own_before == 1.0
    assert 0 < report.comparison.overlap_at_10 <= 1
    assert load_seal(index).fingerprint == other_encoder.fingerprint
    with open_index(index, encoder=other_encoder) as opened:
        query = other_encoder.encode_queries([" ".join(f"word7x{n}" for n in range(24))])
        assert opened.doc_ids(opened.dense(query, k=1)[0][0]) == ["note-7.txt"]
        stored = opened.fetch(opened._payload.row_ids[:3])
        vectors = next(iter(opened._store.scan_vectors()))[1][:3]
        expected = other_encoder.encode_passages([f"{c.title} {c.text}" for c in stored])
        np.testing.assert_allclose(vectors, expected, atol=1e-6)
    with pytest.raises(SealError):
        open_index(index, encoder=encoder)
    assert verify_index(index).problems == []


def test_readers_of_the_old_state_go_on(index, encoder, other_encoder):
    """An index that was opened before the swap finds its files, also those it opens only now."""
    with open_index(index, encoder=encoder) as opened:
        reindex(index, other_encoder, old_encoder=encoder)
        query = encoder.encode_queries([" ".join(f"word7x{n}" for n in range(24))])
        assert opened.doc_ids(opened.dense(query, k=1)[0][0]) == ["note-7.txt"]
        assert len(opened.filter("doc_id = 'note-7.txt'")) > 1


def test_it_can_be_taken_back_or_made_final(index, encoder, other_encoder):
    """The old state is whole; once dropped, its files are gone."""
    reindex(index, other_encoder, old_encoder=encoder)
    shadows.take_back(index, load_manifest(index))
    assert load_seal(index).fingerprint == encoder.fingerprint
    assert verify_index(index).problems == []
    reindex(index, other_encoder, old_encoder=encoder)
    with pytest.raises(IndexFormatError, match="keeps the state"):
        reindex(index, HashEncoder(salt="c"), old_encoder=other_encoder)
    shadows.drop_before(index, load_manifest(index))
    folders = sorted(p.name for p in index.iterdir() if p.is_dir())
    assert len(folders) == 2
    assert verify_index(index).problems == []
    with pytest.raises(IndexFormatError, match="keeps no state"):
        shadows.take_back(index, load_manifest(index))


def test_ingest_goes_on_with_the_new_encoder(index, tree, encoder, other_encoder):
    """After the swap the index is as any other: sync adds to it, row ids are never used twice."""
    reindex(index, other_encoder, old_encoder=encoder)
    (tree / "new.txt").write_text("something entirely new")
    report = sync(index, encoder=other_encoder)
    assert (report.build.n_added, report.build.n_unchanged) == (1, 0)
    assert len({name for name, *_ in texts(index)}) == 31
    with open_index(index, encoder=other_encoder) as opened:
        rows = opened._payload.row_ids[:]
        assert len(set(rows.tolist())) == len(rows)
    with pytest.raises(IndexFormatError, match="was written since"):
        shadows.take_back(index, load_manifest(index))
    assert verify_index(index).problems == []


def test_a_stopped_run_goes_on(index, encoder, other_encoder, monkeypatch):
    """What was encoded before a kill is not encoded again; the index is searched meanwhile."""
    calls = []

    def stopping(self, texts, *, report=None):
        calls.append(len(texts))
        if len(calls) > 4:
            raise KeyboardInterrupt
        return HashEncoder._encode(self, texts, report)

    with monkeypatch.context() as patched:
        patched.setattr(HashEncoder, "encode_passages", stopping)
        with pytest.raises(KeyboardInterrupt):
            reindex(index, other_encoder, old_encoder=encoder)
    with open_index(index, encoder=encoder) as opened:
        assert opened.n_documents == 30
    report = reindex(index, other_encoder, old_encoder=encoder)
    assert report.shadow.n_resumed > 0
    assert report.shadow.n_encoded < len(texts(index))
    assert verify_index(index).problems == []


class BlindEncoder(HashEncoder):
    """Sees no text: every vector is the same."""

    def _encode(self, texts, report):
        return np.tile(np.eye(1, self.dim, dtype=np.float32), (len(texts), 1))


def test_an_encoder_that_finds_nothing_is_not_put_in_place(index, encoder):
    """The comparison stops it, and the index is as it was."""
    before = (index / "manifest.json").read_bytes()
    with pytest.raises(IndexFormatError, match="does not fit"):
        reindex(index, BlindEncoder(salt="blind"), old_encoder=encoder)
    assert (index / "manifest.json").read_bytes() == before
    assert reindex(index, BlindEncoder(salt="blind"), old_encoder=encoder, force=True)


def test_the_same_encoder_and_a_second_writer_are_refused(index, encoder, other_encoder):
    """Nothing to do, or somebody else is at it."""
    with pytest.raises(IndexFormatError, match="already"):
        reindex(index, encoder)
    with single_writer(index), ThreadPoolExecutor() as threads:
        refused = threads.submit(reindex, index, other_encoder).exception()
    assert isinstance(refused, IndexFormatError)
    assert "another process" in refused.message


def test_forgetting_reaches_the_state_before(index, encoder, other_encoder):
    """A document is not kept in the files of the old encoder either."""
    reindex(index, other_encoder, old_encoder=encoder)
    report = forget(index, ["note-7.txt"])
    assert report.is_proved
    assert not any(b"word7x3" in p.read_bytes() for p in index.rglob("*") if p.is_file())


def test_an_untidy_shadow_is_tidied_by_its_own_versions(
    index, encoder, other_encoder, tmp_path, monkeypatch
):
    """Its table is another one: the version that readers have open is not looked for in it."""
    for number in range(12):  # the published table has versions that the new one will not reach
        (tmp_path / "late.txt").write_text(f"late note {number}")
        build_index([tmp_path / "late.txt"], index, encoder=encoder)
    monkeypatch.setattr(ChunkStore, "is_untidy", True)
    assert load_manifest(index).store_version > 12
    reindex(index, other_encoder, old_encoder=encoder, force=True)
    assert load_manifest(index).seal.fingerprint == other_encoder.fingerprint
    assert verify_index(index).problems == []
