"""build_index: sources joined to one index, and what it refuses before anything is changed."""

import gzip
import json
from pathlib import Path

import pytest

from lbr_search.config import ChunkConfig
from lbr_search.corpus.compressed import SourceFile
from lbr_search.errors import ConfigError, CorpusError
from lbr_search.ingest import IngestOptions, build_index, fit_chunks
from lbr_search.search.searcher import Searcher
from lbr_search.types import Document
from tests.conftest import HashEncoder


def write_jsonl(path: Path, documents: list[Document]) -> Path:
    rows = [{"_id": d.doc_id, "title": d.title, "text": d.text, **d.metadata} for d in documents]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def ids_of(index: Path) -> set[str]:
    searcher = Searcher.open(index, encoder=HashEncoder())
    return {doc_id for doc_id, _ in searcher.rank_documents(["any"], k=1000, mode="dense")[0]}


@pytest.fixture
def source(tmp_path: Path, documents: list[Document]) -> Path:
    return write_jsonl(tmp_path / "notes.jsonl", documents)


@pytest.fixture
def index(tmp_path: Path) -> Path:
    return tmp_path / "index"


def test_every_document_is_counted_and_found(source, index, documents, encoder):
    report = build_index([source], index, encoder=encoder, domain="notes")
    built = report.build
    assert (built.n_documents, built.n_added, built.n_chunks) == (30, 30, 30)
    assert report.domain == "notes" and report.rejected == {}
    hits = Searcher.open(index, encoder=encoder).search("variant3 of code", k=1)
    assert hits[0].doc_id == "code-3"
    assert hits[0].metadata["year"] == 2013
    assert hits[0].domain == "notes"


def test_the_second_ingest_encodes_nothing(source, index, encoder):
    build_index([source], index, encoder=encoder)
    n_before = encoder.n_encoded
    again = build_index([source], index, encoder=encoder).build
    assert again.n_unchanged == 30 and again.is_noop
    assert encoder.n_encoded - n_before <= 5  # the golden texts


def test_a_changed_document_is_replaced_and_a_missing_one_kept(source, index, documents, encoder):
    build_index([source], index, encoder=encoder)
    changed = Document("code-3", "walrus operator explained")
    write_jsonl(source, [changed, *documents[:5]])
    report = build_index([source], index, encoder=encoder).build
    assert (report.n_updated, report.n_unchanged, report.n_deleted) == (1, 5, 0)
    assert len(ids_of(index)) == 30
    assert Searcher.open(index, encoder=encoder).search("walrus", k=1)[0].doc_id == "code-3"


def test_delete_removes_what_the_sources_no_longer_hold(source, index, documents, encoder):
    build_index([source], index, encoder=encoder)
    write_jsonl(source, documents[:4])
    options = IngestOptions(delete_missing=True)
    report = build_index([source], index, encoder=encoder, options=options).build
    assert report.n_deleted == 26
    assert ids_of(index) == {document.doc_id for document in documents[:4]}


def test_delete_is_refused_where_lines_could_not_be_read(source, index, documents, encoder):
    """A broken line may be the very document that would be removed."""
    build_index([source], index, encoder=encoder)
    write_jsonl(source, documents[:4])
    source.write_text(source.read_text() + '{"_id": "code-9", "text"\n')
    options = IngestOptions(delete_missing=True)
    with pytest.raises(CorpusError, match="1 unreadable line"):
        build_index([source], index, encoder=encoder, options=options)
    assert len(ids_of(index)) == 30


def test_several_sources_of_different_kinds_make_one_index(tmp_path, source, index, encoder):
    table = tmp_path / "more.csv"
    table.write_text("key,body\nx1,first row of the table\nx2,second row of the table\n")
    packed = tmp_path / "packed.jsonl.gz"
    packed.write_bytes(gzip.compress(b'{"_id": "z", "text": "from a packed file"}\n'))
    folder = tmp_path / "texts"
    folder.mkdir()
    (folder / "page.md").write_text("# Heading\n\nA page of text.\n")
    options = IngestOptions()
    build_index([packed, folder, source], index, encoder=encoder, options=options)
    assert len(ids_of(index)) == 32
    from lbr_search.protocols import ReadOptions

    columns = IngestOptions(read=ReadOptions(id_column="key", text_column="body"))
    build_index([table], index, encoder=encoder, options=columns)
    assert {"x1", "x2", "z", "code-9"} <= ids_of(index)


def test_an_id_in_two_sources_is_refused_with_both_named(tmp_path, source, index, encoder):
    other = write_jsonl(tmp_path / "other.jsonl", [Document("code-3", "another text")])
    with pytest.raises(CorpusError, match="code-3") as caught:
        build_index([source, other], index, encoder=encoder)
    assert str(source) in caught.value.message and str(other) in caught.value.message
    assert not (index / "manifest.json").exists()


@pytest.mark.parametrize("content", ["", "\n\n", "not json\n"])
def test_a_source_without_a_document_is_refused(tmp_path, source, index, encoder, content):
    build_index([source], index, encoder=encoder)
    empty = tmp_path / "empty.jsonl"
    empty.write_text(content)
    for options in (IngestOptions(), IngestOptions(delete_missing=True)):
        with pytest.raises(CorpusError, match="no document"):
            build_index([empty], index, encoder=encoder, options=options)
    assert len(ids_of(index)) == 30


def test_no_source_at_all_is_refused(index, encoder):
    with pytest.raises(CorpusError, match="no source"):
        build_index([], index, encoder=encoder)


def test_chunks_longer_than_the_encoder_reads_are_lowered_with_a_note(source, index):
    small = HashEncoder(max_tokens=8)
    report = build_index(
        [source], index, encoder=small, chunk=ChunkConfig(chunk_tokens=100, overlap=40)
    )
    assert len(report.notes) == 1
    assert "8 tokens instead of 100" in report.notes[0]
    assert "4 instead of 40" in report.notes[0]
    assert report.build.n_chunks > 30
    assert report.build.n_truncated == 0


def test_chunks_that_fit_are_left_alone(encoder):
    for chunk in (ChunkConfig(128, 16), ChunkConfig(0, 0)):
        assert fit_chunks(chunk, encoder) == (chunk, [])


def test_whole_documents_are_cut_by_the_encoder_and_counted(source, index):
    small = HashEncoder(max_tokens=8)
    whole = ChunkConfig(chunk_tokens=0, overlap=0)
    built = build_index([source], index, encoder=small, chunk=whole).build
    assert (built.n_chunks, built.n_truncated) == (30, 30)
    assert built.n_tokens_lost > 30


def test_lines_that_cannot_be_read_are_written_with_file_line_and_reason(source, index, encoder):
    lines = source.read_text().splitlines()
    lines[2] = '{"_id": "broken", "text": '
    lines[7] = '{"_id": "silent", "text": "  "}'
    source.write_text("\n".join(lines) + "\n")
    report = build_index([source], index, encoder=encoder)
    assert report.build.n_documents == 28
    assert sum(report.rejected.values()) == 2
    assert report.rejected_path == index / "rejected.jsonl"
    rejected = [json.loads(line) for line in report.rejected_path.read_text().splitlines()]
    assert [(row["file"], row["line"]) for row in rejected] == [(str(source), 3), (str(source), 8)]


def test_strict_stops_at_the_first_such_line_and_changes_nothing(source, index, encoder):
    source.write_text(source.read_text() + "{broken\n")
    with pytest.raises(CorpusError, match=r"notes.jsonl:31"):
        build_index([source], index, encoder=encoder, options=IngestOptions(strict=True))
    assert encoder.n_encoded == 0


def test_the_reader_can_be_named(tmp_path, index, encoder):
    odd = tmp_path / "export.dat"
    odd.write_text('{"_id": "a", "text": "some words"}\n')
    with pytest.raises(CorpusError, match=r"export.dat"):
        build_index([odd], index, encoder=encoder)
    report = build_index([odd], index, encoder=encoder, options=IngestOptions(reader="jsonl"))
    assert report.build.n_documents == 1
    with pytest.raises(ConfigError, match="jsonnl"):
        build_index([odd], index, encoder=encoder, options=IngestOptions(reader="jsonnl"))


def test_progress_knows_how_much_is_left(source, index, encoder):
    states = []
    build_index([source], index, encoder=encoder, progress=states.append)
    shares = [state.share_read for state in states]
    assert shares == sorted(shares) and shares[-1] == 1
    encoded = [state for state in states if state.build.n_documents == 30]
    assert encoded and encoded[-1].seconds_left == 0


def test_a_source_is_read_once(source, index, encoder):
    before = SourceFile.n_bytes_read
    build_index([source], index, encoder=encoder)
    assert SourceFile.n_bytes_read - before == source.stat().st_size


def test_domains_of_sources_that_differ_give_an_index_of_none(tmp_path, index, encoder):
    for domain in ("medical", "chemistry"):
        write_jsonl(tmp_path / domain / "notes.jsonl", [Document(domain, f"a {domain} note")])
    paths = [tmp_path / domain / "notes.jsonl" for domain in ("medical", "chemistry")]
    report = build_index(paths, index, encoder=encoder)
    assert report.domain == ""
    hits = Searcher.open(index, encoder=encoder).search("note", k=2)
    assert {hit.domain for hit in hits} == {"medical", "chemistry"}
