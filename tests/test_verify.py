"""Damage of every kind of file is found, refused at open, and repaired where the table is whole."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from unittest import mock

import numpy as np
import pyarrow.parquet as pq
import pytest

from lbr_search.config import IndexConfig
from lbr_search.errors import IndexFormatError
from lbr_search.index import build
from lbr_search.index.export import SEAL_KEY, export_index, import_index
from lbr_search.index.manifest import load_manifest, publish, store_folder
from lbr_search.index.opened import open_index
from lbr_search.index.store import ChunkStore
from lbr_search.index.verify import repair_index, verify_index
from lbr_search.ingest import build_index
from lbr_search.search.searcher import Searcher
from tests.hash_cli import run

QUERY = "text number 7 of the small corpus"


@pytest.fixture(params=["faiss", "exact", "lancedb"])
def index(request, tmp_path: Path, encoder) -> Path:
    rows = [
        {"_id": f"d{n}", "text": f"text number {n} of the small corpus", "year": 2000 + n}
        for n in range(30)
    ]
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    config = IndexConfig(backend=request.param)
    build_index([tmp_path / "a.jsonl"], tmp_path / "index", encoder=encoder, config=config)
    return tmp_path / "index"


def answers(index: Path, encoder) -> list[list[str]]:
    with open_index(index, encoder=encoder) as opened:
        dense, _ = opened.dense(encoder.encode_queries([QUERY]), k=5)
        lexical, _ = opened.lexical([QUERY], k=5)
        return [opened.doc_ids(rows[0]) for rows in (dense, lexical)]


def damage(path: Path, kind: str) -> None:
    """Cut a file, turn one bit of it, or remove it."""
    data = bytearray(path.read_bytes())
    if kind == "missing":
        path.unlink()
    elif kind == "cut":
        path.write_bytes(data[: len(data) // 2])
    else:
        data[len(data) // 2] ^= 0x10
        path.write_bytes(data)


@pytest.mark.parametrize("kind", ["missing", "cut", "flipped"])
def test_derived_files_are_found_and_repaired(index, encoder, kind):
    """Each file in turn: told by name, at open too where its size tells, and built anew."""
    expected = answers(index, encoder)
    manifest = load_manifest(index)
    derived = [e.path for e in manifest.files if not e.path.startswith(f"{manifest.store}/")]
    path = max(derived, key=lambda name: (index / name).stat().st_size)
    for name in {path, *derived[:2]}:
        manifest = load_manifest(index)
        now = name.replace(name.split("/")[0], manifest.generation_folder)
        if not (index / now).is_file() or not (index / now).stat().st_size:
            continue  # lancedb names its files anew each time
        damage(index / now, kind)
        assert [p for p in verify_index(index).problems if p.startswith(now)]
        if kind != "flipped":
            with pytest.raises(IndexFormatError, match="is damaged"):
                open_index(index, encoder=encoder)
        repair_index(index)
        assert verify_index(index).problems == []
        assert answers(index, encoder) == expected


@pytest.mark.parametrize("kind", ["missing", "cut", "flipped"])
def test_a_damaged_table_is_not_repaired(index, kind):
    """Texts that are gone cannot be made up: the command that helps is told."""
    manifest = load_manifest(index)
    stored = [e.path for e in manifest.files if "/data/" in e.path and e.path.startswith("store/")]
    damage(index / stored[0], kind)
    found = verify_index(index)
    assert found.problems
    assert not found.is_derived_only
    with pytest.raises(IndexFormatError, match="nothing else holds its texts"):
        repair_index(index)
    done = run("index", "verify", index, "--repair")
    assert done.code == 1
    assert "lbr-search ingest SOURCE" in done.err


def test_rows_that_stand_twice_are_found_and_removed(tmp_path, encoder, other_encoder):
    """What a concurrent writer of another program would leave is told, and healed by a repair."""
    (tmp_path / "a.jsonl").write_text('{"_id": "a", "text": "x"}\n{"_id": "b", "text": "y"}\n')
    index = tmp_path / "index"
    config = IndexConfig(backend="exact")
    build_index([tmp_path / "a.jsonl"], index, encoder=encoder, config=config)
    manifest = load_manifest(index)
    store = ChunkStore.open_latest(store_folder(index, manifest))
    from lbr_search.index.stored import stored_chunks

    chunks = list(stored_chunks(store))
    store.add(chunks[:1], encoder.encode_passages(["x"]), first_row=manifest.next_row)
    publish(index, replace(manifest, store_version=store.version))
    problems = verify_index(index).problems
    assert any("1 rows twice" in problem for problem in problems)
    assert any("texts: 2 rows, the store has 3" in problem for problem in problems)
    repair_index(index)
    assert verify_index(index).problems == []
    moved = verify_index(index, encoder=other_encoder).problems
    assert len(moved) == 1
    assert moved[0].startswith("encoder: index and encoder do not match")


def test_a_repair_publishes_nothing_that_was_cut_off(index, tmp_path, encoder):
    """Rows of a run that did not end are undone, not shown; the same ingest adds them again."""
    with (tmp_path / "a.jsonl").open("a") as stream:
        stream.write('{"_id": "late", "text": "added late"}\n')

    def stopped(*_):
        raise KeyboardInterrupt

    with mock.patch.object(build, "build_generation", stopped), pytest.raises(KeyboardInterrupt):
        build_index([tmp_path / "a.jsonl"], index, encoder=encoder, config=config_of(index))
    repair_index(index)
    assert verify_index(index).problems == []
    assert (load_manifest(index).n_documents, load_manifest(index).n_chunks) == (30, 30)
    again = build_index([tmp_path / "a.jsonl"], index, encoder=encoder, config=config_of(index))
    assert (again.build.n_added, load_manifest(index).n_documents) == (1, 31)


def config_of(index: Path) -> IndexConfig:
    return IndexConfig(backend=load_manifest(index).backend)


def test_strangers_are_noted(index):
    """What belongs to nothing is told, and is no damage."""
    (index / "gen-000099").mkdir()
    (index / "notes.txt").write_text("x")
    (index / "search.toml").write_text("")  # what `tune` writes is no stranger
    found = verify_index(index)
    assert found.problems == []
    assert [note.split(" ")[0] for note in found.notes] == ["gen-000099", "notes.txt"]


def test_export_holds_all_that_the_index_holds(index, tmp_path, encoder):
    """Texts, metadata by their keys, vectors, and the seal."""
    done = run("index", "export", index, tmp_path / "out" / "all.parquet")
    assert done.code == 0, done.err
    table = pq.read_table(tmp_path / "out" / "all.parquet")
    assert table["doc_id"].to_pylist() == [f"d{n}" for n in range(30)]
    assert table["year"].to_pylist() == [2000 + n for n in range(30)]
    passages = [
        f"{t} {x}".strip()
        for t, x in zip(table["title"].to_pylist(), table["text"].to_pylist(), strict=True)
    ]
    vectors = np.array(table["vector"].to_pylist(), dtype=np.float32)
    np.testing.assert_allclose(vectors, encoder.encode_passages(passages), atol=1e-6)
    assert json.loads(table.schema.metadata[SEAL_KEY])["fingerprint"] == encoder.fingerprint
    export_index(index, tmp_path / "texts.parquet", vectors=False)
    assert "vector" not in pq.read_schema(tmp_path / "texts.parquet").names
    with pytest.raises(IndexFormatError, match="cannot be written"):
        export_index(index, Path("/proc/none/x.parquet"))


def everything(index: Path) -> list[tuple]:
    store = ChunkStore.open_version(
        store_folder(index, load_manifest(index)), load_manifest(index).store_version
    )
    return [(row["doc_id"], row["text"], row["meta"]) for row in rows_of(store)]


def rows_of(store: ChunkStore) -> list[dict]:
    from lbr_search.index.stored import stored_chunks

    return [
        {
            "doc_id": c.doc_id,
            "text": c.text,
            "meta": (c.title, c.domain, c.start, c.end, c.doc_hash, tuple(c.metadata.items())),
        }
        for c in stored_chunks(store)
    ]


def test_an_export_comes_back_as_the_same_index(index, tmp_path, encoder):
    """Chunks, metadata and hits with their scores; with its own encoder nothing is encoded."""
    file = tmp_path / "all.parquet"
    export_index(index, file)
    before = encoder.n_encoded
    report = import_index(file, tmp_path / "copy", encoder=encoder)
    golden = encoder.n_encoded - before
    assert golden <= 10 and report.n_documents == 30
    assert everything(tmp_path / "copy") == everything(index)
    hits, copied = (
        Searcher.open(folder, encoder=encoder).search(QUERY, k=30)
        for folder in (index, tmp_path / "copy")
    )
    assert [(h.doc_id, h.rank) for h in hits] == [(h.doc_id, h.rank) for h in copied]
    np.testing.assert_allclose([h.score for h in hits], [h.score for h in copied], atol=1e-6)
    assert verify_index(tmp_path / "copy").problems == []


def test_an_export_without_vectors_or_of_another_encoder_is_encoded(
    index, tmp_path, encoder, other_encoder
):
    export_index(index, tmp_path / "texts.parquet", vectors=False)
    report = import_index(tmp_path / "texts.parquet", tmp_path / "a", encoder=encoder)
    assert report.n_encoded == 30
    export_index(index, tmp_path / "all.parquet")
    report = import_index(tmp_path / "all.parquet", tmp_path / "b", encoder=other_encoder)
    assert report.n_encoded == 30
    assert load_manifest(tmp_path / "b").seal.fingerprint == other_encoder.fingerprint


def test_what_is_no_export_is_refused(index, tmp_path):
    """Other Parquet, a cut file, text, nothing; and a folder that holds something."""
    file = tmp_path / "all.parquet"
    export_index(index, file)
    pq.write_table(pq.read_table(file).replace_schema_metadata(None), tmp_path / "other.parquet")
    (tmp_path / "cut.parquet").write_bytes(file.read_bytes()[:-100])
    (tmp_path / "text.parquet").write_text("no parquet")
    for name in ("other", "cut", "text", "absent"):
        path = tmp_path / f"{name}.parquet"
        refused = run("index", "import", path, tmp_path / "x", "--encoder", "hash:a")
        assert refused.code == 1 and "no export of an index" in refused.err, refused.err
    assert not (tmp_path / "x").exists()
    refused = run("index", "import", file, index, "--encoder", "hash:a")
    assert refused.code == 1 and "is not empty" in refused.err
    done = run("index", "import", file, tmp_path / "x", "--encoder", "hash:a")
    assert done.code == 0 and "30 documents" in done.out, done.err
