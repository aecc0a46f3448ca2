"""An opened index: searches, fetches, filters, and what it refuses."""

from __future__ import annotations

import dataclasses
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from lbr_search.config import IndexConfig
from lbr_search.errors import FilterError, IndexFormatError, SealError, ShapeError
from lbr_search.index import manifest as manifest_module
from lbr_search.index.build import build
from lbr_search.index.exact import ExactIndex
from lbr_search.index.manifest import load_manifest
from lbr_search.index.opened import OpenedIndex, StoredChunk, open_index
from lbr_search.index.verify import verify_index
from lbr_search.types import Chunk, Document
from tests.conftest import HashEncoder
from tests.tiny import tiny_encoder

SMALL = IndexConfig(commit_rows=8, encode_batch=4)


def whole(document: Document) -> Chunk:
    return Chunk(
        doc_id=document.doc_id,
        chunk_no=0,
        text=document.text,
        start=0,
        end=len(document.text),
        title=document.title,
        domain=document.domain,
        metadata=document.metadata,
        doc_hash=document.content_hash,
    )


@pytest.fixture
def folder(tmp_path: Path, documents: list[Document], encoder: HashEncoder) -> Path:
    build(map(whole, documents), encoder=encoder, folder=tmp_path / "ix", config=SMALL)
    return tmp_path / "ix"


@pytest.fixture
def index(folder: Path, encoder: HashEncoder) -> OpenedIndex:
    return open_index(folder, encoder=encoder)


def test_dense_search_equals_the_oracle(
    index: OpenedIndex, documents: list[Document], encoder: HashEncoder, tmp_path: Path
) -> None:
    """Ids and scores are those of exact search over the same passages, filtered or not."""
    vectors = encoder.encode_passages([whole(document).passage for document in documents])
    oracle = ExactIndex()
    oracle.build([(np.arange(30), vectors)], dim=encoder.dim, folder=tmp_path / "oracle")
    queries = encoder.encode_queries(["insulin glucose", "sort a list", "nothing of these"])
    for allowed in (None, np.array([2, 5, 11, 29])):
        rows, scores = index.dense(queries, k=7, allowed=allowed)
        expected_rows, expected_scores = oracle.search(queries, k=7, allowed=allowed)
        np.testing.assert_array_equal(rows, expected_rows)
        np.testing.assert_allclose(scores, expected_scores, atol=1e-5)


def test_a_fetched_chunk_is_the_chunk_that_was_given(
    index: OpenedIndex, documents: list[Document]
) -> None:
    """Rows come back in the order asked for, with every field and the metadata's own types."""
    fetched = index.fetch(np.array([17, 3]))
    for row, chunk in zip((17, 3), fetched, strict=True):
        document = documents[row]
        assert chunk == StoredChunk(
            row_id=row,
            doc_id=document.doc_id,
            chunk_no=0,
            title=document.title,
            text=document.text,
            domain=document.domain,
            start=0,
            end=len(document.text),
            metadata=document.metadata,
        )
        assert isinstance(chunk.metadata["year"], int)
    assert index.fetch(np.array([], dtype=np.int64)) == []


def test_document_ids_follow_their_rows(index: OpenedIndex, documents: list[Document]) -> None:
    """`doc_ids` keeps order and repeats, and refuses rows that do not exist."""
    rows = np.array([29, 0, 12, 12])
    assert index.doc_ids(rows) == [documents[row].doc_id for row in rows]
    assert index.doc_ids(np.array([], dtype=np.int64)) == []
    for bad in (-1, 30):
        with pytest.raises(KeyError, match=str(bad)):
            index.doc_ids(np.array([0, bad]))
        with pytest.raises(KeyError, match=str(bad)):
            index.fetch(np.array([bad]))


def test_filters_restrict_both_legs(
    index: OpenedIndex, documents: list[Document], encoder: HashEncoder
) -> None:
    """What a filter lets through is what both legs may return."""
    allowed = index.filter("year > 2015 AND domain = 'medical'")
    expected = [
        row
        for row, document in enumerate(documents)
        if document.metadata["year"] > 2015 and document.domain == "medical"
    ]
    assert allowed.tolist() == expected
    rows, _ = index.dense(encoder.encode_queries(["insulin"]), k=30, allowed=allowed)
    assert sorted(rows[0][rows[0] >= 0].tolist()) == expected
    rows, scores = index.lexical(["insulin aspirin vaccines"], k=30, allowed=allowed)
    found = rows[0][rows[0] >= 0]
    assert sorted(found.tolist()) == expected
    assert (scores[0][: len(found)] > 0).all()
    with pytest.raises(FilterError) as typo:
        index.filter("yaer > 2015")
    assert typo.value.fix == "use year"


def test_lexical_search_needs_no_encoder(folder: Path, documents: list[Document]) -> None:
    """Without an encoder an index can be inspected and searched by words."""
    with open_index(folder, encoder=None) as index:
        rows, _ = index.lexical(["benzene"], k=30)
        found = index.doc_ids(rows[0][rows[0] >= 0])
        assert sorted(found) == sorted(d.doc_id for d in documents if "benzene" in d.text)
        assert (index.n_chunks, index.n_documents) == (30, 30)
        assert index.size_bytes() == sum(
            path.stat().st_size
            for part in ("gen-000001", "store/chunks.lance/data", "store/chunks.lance/_versions")
            for path in (folder / part).rglob("*")
            if path.is_file() and path.name != "latest_version_hint.json"
        )
        (start, end), *_ = index.matched_terms("benzene rings", "the benzene ring")
        assert "the benzene ring"[start:end] == "benzene"


def test_another_encoder_is_refused_with_both_sides_and_a_fix(
    folder: Path, other_encoder: HashEncoder
) -> None:
    """Fingerprint and size of both are shown, and the commands for either way out."""
    with pytest.raises(SealError) as refused:
        open_index(folder, encoder=other_encoder)
    message = str(refused.value)
    assert message.startswith("index and encoder do not match.")
    assert f"{HashEncoder().fingerprint[:12]}, 64 dimensions (hash-a)" in message
    assert f"{other_encoder.fingerprint[:12]}, 64 dimensions (hash-b)" in message
    assert "--encoder hash:a" in refused.value.fix
    assert f"--index {folder}-new --encoder hash:b" in refused.value.fix


@pytest.mark.parametrize(("shift", "is_refused"), [(5e-4, False), (2e-3, True)])
def test_an_encoder_whose_vectors_moved_is_refused(
    folder: Path, encoder: HashEncoder, shift: float, is_refused: bool
) -> None:
    """The same fingerprint with other vectors is caught by the golden texts; rounding is not."""

    class Moved(HashEncoder):
        def encode_passages(self, texts, *, report=None):
            vectors = super().encode_passages(texts, report=report)
            vectors[:, 5] += shift
            return vectors

    if not is_refused:
        open_index(folder, encoder=Moved()).close()
        return
    with pytest.raises(SealError, match=r"(?s)other vectors.*difference  2\.00e-03") as refused:
        open_index(folder, encoder=Moved())
    assert "lbr-search doctor" in refused.value.fix


def test_queries_of_another_size_are_refused(index: OpenedIndex) -> None:
    """(1, 3) cannot search 64 dimensions."""
    with pytest.raises(ShapeError, match=r"\(1, 3\).*64 dimensions"):
        index.dense(np.ones((1, 3), dtype=np.float32), k=1)


def test_folders_that_are_no_index_say_what_they_are(tmp_path: Path) -> None:
    """Absent and empty folders are told apart, each with the ingest command."""
    (tmp_path / "empty").mkdir()
    for name, words in (("empty", "holds no index"), ("absent", "does not exist")):
        with pytest.raises(IndexFormatError, match=words) as refused:
            open_index(tmp_path / name, encoder=None)
        assert refused.value.fix == f"lbr-search ingest SOURCE... --index {tmp_path / name}"


def test_a_file_is_no_index(tmp_path: Path, encoder: HashEncoder) -> None:
    """`--index` pointed at a file is refused on both ways, and the file left alone."""
    path = tmp_path / "notes.txt"
    path.write_text("mine")
    with pytest.raises(IndexFormatError, match="is a file"):
        open_index(path, encoder=None)
    with pytest.raises(IndexFormatError, match="is a file"):
        build([Chunk("a", 0, "x", 0, 1)], encoder=encoder, folder=path, config=SMALL)
    assert path.read_text() == "mine"


def test_commands_in_errors_can_be_pasted(tmp_path: Path) -> None:
    """A folder with a space is quoted."""
    with pytest.raises(IndexFormatError) as refused:
        open_index(tmp_path / "my index", encoder=None)
    assert refused.value.fix.endswith(f"--index '{tmp_path}/my index'")


@pytest.mark.parametrize(
    ("pattern", "fix"),
    [("gen-*/vectors/*", "index verify"), ("store/chunks.lance/data/*", "rm -r")],
)
@pytest.mark.parametrize("damage", ["cut", "gone"])
def test_damaged_files_are_named(
    folder: Path, encoder: HashEncoder, pattern: str, fix: str, damage: str
) -> None:
    """A file cut short or gone is refused at open, with both sizes; derived files are rebuilt."""
    path = max(folder.glob(pattern), key=lambda each: each.stat().st_size)
    size = path.stat().st_size
    if damage == "cut":
        path.write_bytes(path.read_bytes()[:-1])
    else:
        path.unlink()
    with pytest.raises(IndexFormatError) as refused:
        open_index(folder, encoder=encoder)
    found = f"{size - 1} bytes" if damage == "cut" else "missing"
    name = path.relative_to(folder).as_posix()
    assert f"{name}: written {size} bytes, found {found}" in refused.value.message
    assert fix in refused.value.fix


def every_file(folder: Path) -> list[str]:
    """Paths of the files that the manifest names, and itself."""
    manifest = load_manifest(folder)
    return [*(entry.path for entry in manifest.files), "manifest.json"]


def test_a_flipped_bit_in_any_file_is_refused_at_open(
    tmp_path: Path, documents: list[Document]
) -> None:
    """One file after the other, compressed vectors too: a bit in its middle."""
    encoder, folder = tiny_encoder(tmp_path / "encoder"), tmp_path / "ix"
    config = dataclasses.replace(SMALL, multi_vector=True)
    build(map(whole, documents), encoder=encoder, folder=folder, config=config)
    names = every_file(folder)
    assert len(names) > 10 and any("/multi/" in name for name in names)
    for number, name in enumerate(names):
        copy = tmp_path / f"copy-{number}"
        shutil.copytree(folder, copy)
        data = bytearray((copy / name).read_bytes())
        data[len(data) // 2] ^= 1
        (copy / name).write_bytes(data)
        with pytest.raises(IndexFormatError, match="damaged") as refused:
            open_index(copy, encoder=encoder)
        assert "lbr-search" in refused.value.fix or "ingest" in refused.value.fix
        assert name in refused.value.message


def test_copied_files_are_hashed_until_their_times_are_recorded(
    folder: Path, encoder: HashEncoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An index that nobody touched is not read through; a copied one is, until `verify`."""
    hashed: list[Path] = []
    original = manifest_module.file_hash
    monkeypatch.setattr(
        manifest_module, "file_hash", lambda path: hashed.append(path) or original(path)
    )
    open_index(folder, encoder=encoder)
    assert not hashed
    for entry in load_manifest(folder).files:
        os.utime(folder / entry.path, ns=(1, 1))
    open_index(folder, encoder=encoder)
    assert len(hashed) == len(load_manifest(folder).files)
    found = verify_index(folder)
    assert not found.problems and "recorded" in found.notes[-1]
    hashed.clear()
    open_index(folder, encoder=encoder)
    assert not hashed and not verify_index(folder).notes


def test_opening_and_fetching_load_no_database(folder: Path) -> None:
    """A cold query without a filter does not pay for importing LanceDB."""
    code = (
        "import sys; from pathlib import Path; import numpy as np\n"
        "from lbr_search.index.opened import open_index\n"
        f"index = open_index(Path({str(folder)!r}), encoder=None)\n"
        "index.fetch(index.lexical(['benzene'], k=1)[0][0])\n"
        "assert 'lancedb' not in sys.modules and 'torch' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_a_closed_index_lets_go_of_its_files(index: OpenedIndex) -> None:
    """After `close` nothing is fetched from a stale map."""
    index.doc_ids(np.array([0]))
    index.close()
    with pytest.raises((IndexError, ValueError)):
        index.fetch(np.array([0]))
