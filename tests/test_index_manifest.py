"""Seal and manifest: what binds an index, and what readers are shown."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from lbr_search.config import fingerprint
from lbr_search.errors import IndexFormatError, SealError
from lbr_search.index import files as files_module
from lbr_search.index.files import disk_errors, file_hash, write_json
from lbr_search.index.generation import choose_kind, file_entry
from lbr_search.index.journal import Journal
from lbr_search.index.manifest import (
    FORMAT,
    GOLDEN_TEXTS,
    IndexManifest,
    check_golden,
    check_seal,
    damaged_files,
    find_manifest,
    load_manifest,
    load_seal,
    publish,
    seal_of,
    write_seal,
)
from tests.conftest import HashEncoder


@pytest.fixture
def manifest(encoder: HashEncoder) -> IndexManifest:
    return IndexManifest(
        seal=seal_of(encoder, domain="medical", analyser="medical"),
        generation=3,
        store_version=7,
        n_documents=2,
        n_chunks=5,
        next_row=9,
        backend="faiss",
        ann="flat",
        reason="asked for",
        recall_at_10=1.0,
        files=[],
        previous_generation=2,
    )


def test_a_manifest_reads_as_it_was_published(tmp_path: Path, manifest: IndexManifest) -> None:
    """Every field survives, the seal with its golden vectors and file entries included."""
    (tmp_path / "a.bin").write_bytes(b"123")
    full = replace(manifest, files=[file_entry(tmp_path, tmp_path / "a.bin")])
    publish(tmp_path, full)
    assert load_manifest(tmp_path) == full
    assert full.files[0].sha256 == (
        "a665a45920422f9d417e4867efdc4fb8a04a1f3fff1fa07e998e86f7f7a27ae3"
    )
    assert full.generation_folder == "gen-000003"


def test_a_manifest_of_a_later_minor_version_is_read(
    tmp_path: Path, manifest: IndexManifest
) -> None:
    """Fields that this version does not know are passed over; the format number decides."""
    publish(tmp_path, manifest)
    path = tmp_path / "manifest.json"
    values = json.loads(path.read_text()) | {"mood": "good"}
    del values["checksum"]
    path.write_text(json.dumps(values | {"checksum": fingerprint(values)}))
    assert find_manifest(tmp_path) == manifest
    path.write_text(json.dumps(values))  # of a version that wrote no checksum
    assert find_manifest(tmp_path) == manifest
    path.write_text(json.dumps(values | {"n_chunks": 1, "checksum": fingerprint(values)}))
    with pytest.raises(IndexFormatError, match="checksum is that of other values"):
        find_manifest(tmp_path)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{", "damaged"),
        ("[]", "not a JSON object"),
        ('{"files": []}', "damaged: 'seal'"),
        ('{"seal": {"format": 99}}', "has format 99; this version reads format 1"),
        (json.dumps({"seal": {"format": FORMAT}}), "damaged"),
    ],
)
def test_a_broken_manifest_is_refused(tmp_path: Path, text: str, words: str) -> None:
    """Cut, foreign or newer manifests give an error with a fix, never a traceback."""
    (tmp_path / "manifest.json").write_text(text)
    with pytest.raises(IndexFormatError, match=words) as refused:
        load_manifest(tmp_path)
    assert "--index" in refused.value.fix


def test_a_seal_without_manifest_is_a_half_written_index(
    tmp_path: Path, encoder: HashEncoder
) -> None:
    """The error names the encoder and the command that goes on."""
    write_seal(tmp_path, seal_of(encoder, domain="", analyser="english"))
    with pytest.raises(IndexFormatError, match="half written") as refused:
        load_manifest(tmp_path)
    assert refused.value.fix.startswith(
        f"lbr-search ingest SOURCE... --index {tmp_path} --encoder hash:a"
    )


def test_a_seal_survives_and_knows_its_encoder(
    tmp_path: Path, encoder: HashEncoder, other_encoder: HashEncoder
) -> None:
    """Five golden vectors are kept; the same encoder passes both checks, another neither."""
    seal = seal_of(encoder, domain="code", analyser="code")
    write_seal(tmp_path, seal)
    assert load_seal(tmp_path) == seal
    assert len(seal.golden) == len(GOLDEN_TEXTS) == 5
    check_seal(tmp_path, seal, encoder)
    check_golden(tmp_path, seal, encoder)
    with pytest.raises(SealError, match="do not match"):
        check_seal(tmp_path, seal, other_encoder)
    with pytest.raises(SealError, match="other vectors"):
        check_golden(tmp_path, seal, other_encoder)
    with pytest.raises(SealError, match="32 dimensions"):
        check_seal(tmp_path, seal, HashEncoder(dim=32))
    with pytest.raises(SealError) as changed:  # under the same name, other vectors
        check_seal(tmp_path, replace(seal, fingerprint="0" * 32), encoder)
    assert f"lbr-search reindex {tmp_path} --encoder {encoder.spec}" in changed.value.fix
    assert load_seal(tmp_path / "nowhere") is None


def test_damage_is_told_file_by_file(tmp_path: Path, manifest: IndexManifest) -> None:
    """Missing and cut files are listed with what was written and what is there."""
    for name in ("whole", "cut", "gone"):
        (tmp_path / name).write_bytes(b"12345")
    entries = [file_entry(tmp_path, tmp_path / name) for name in ("whole", "cut", "gone")]
    (tmp_path / "cut").write_bytes(b"123")
    (tmp_path / "gone").unlink()
    assert damaged_files(tmp_path, replace(manifest, files=entries)) == {
        "cut": "written 5 bytes, found 3 bytes",
        "gone": "written 5 bytes, found missing",
    }


def test_json_is_replaced_whole_or_not_at_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A write that fails half-way leaves the old file; nothing is renamed before it is on disk."""
    path = tmp_path / "a.json"
    write_json(path, {"n": 1})

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files_module.os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        write_json(path, {"n": 2})
    assert json.loads(path.read_text()) == {"n": 1}
    assert file_hash(path) == file_hash(path)


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (OSError(28, "No space left on device"), "no space left"),
        (RuntimeError("LanceError(IO): No space left on device (os error 28)"), "no space left"),
        (OSError(30, "Read-only file system"), "cannot be written"),
        (RuntimeError("io: Permission denied (os error 13), rust"), "cannot be written"),
    ],
)
def test_disk_errors_get_a_fix(tmp_path: Path, error: Exception, words: str) -> None:
    """Whichever library met the full or locked disk, the user reads one error with a fix."""
    with pytest.raises(IndexFormatError, match=words), disk_errors(tmp_path):
        raise error


def test_errors_of_other_files_pass_through(tmp_path: Path) -> None:
    """A source that cannot be read is not a problem of the index, nor is a bug."""
    source = PermissionError(13, "Permission denied", "/somewhere/else/corpus.jsonl")
    with pytest.raises(PermissionError), disk_errors(tmp_path):
        raise source
    with pytest.raises(RuntimeError, match="a bug"), disk_errors(tmp_path):
        raise RuntimeError("a bug")


def test_the_journal_counts_a_batch_once_its_rows_are_there(tmp_path: Path) -> None:
    """An announced batch counts if it was committed; its row ids are retired either way."""
    batch = {"n_encoded": 4, "n_truncated": 1, "n_tokens_lost": 9, "encode_seconds": 0.5}
    journal = Journal.open(tmp_path, rows=[])
    assert journal.announce(4, batch) == 0
    lost = Journal.open(tmp_path, rows=[])
    assert (lost.next_row, lost.totals["n_encoded"]) == (4, 0)
    assert lost.announce(4, batch) == 4
    kept = Journal.open(tmp_path, rows=[4])
    assert (kept.next_row, kept.totals) == (8, batch)
    again = Journal.open(tmp_path, rows=[4])
    assert again.totals == batch
    (tmp_path / "journal.json").unlink()
    assert Journal.open(tmp_path, rows=[4, 11]).next_row == 12


def test_the_kind_follows_the_size_unless_asked_for() -> None:
    """At the limit flat, one above ivf; the exact backend has one kind."""
    from lbr_search.config import IndexConfig

    assert choose_kind(IndexConfig(flat_limit=10), 10)[0] == "flat"
    assert choose_kind(IndexConfig(flat_limit=10), 11)[0] == "ivf"
    assert choose_kind(IndexConfig(flat_limit=10, backend="exact"), 11)[0] == "flat"
    assert choose_kind(IndexConfig(ann="hnsw"), 1) == ("hnsw", "asked for")
