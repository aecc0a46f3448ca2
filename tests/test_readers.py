"""Files become the documents they hold; what they cannot become is counted with its place."""

from __future__ import annotations

import gzip
import io
import json
import lzma
import tracemalloc
from pathlib import Path

import pytest
import zstandard

from lbr_search.corpus.detect import detect_reader
from lbr_search.corpus.readers import read_beir, read_jsonl, read_text_folder
from lbr_search.corpus.rejects import Rejects
from lbr_search.corpus.sources import read_source, resolve_source, shipped_corpora
from lbr_search.corpus.tables import read_csv, read_parquet, read_tsv
from lbr_search.errors import CorpusError
from lbr_search.protocols import ReadOptions
from lbr_search.types import Document

NO_OPTIONS = ReadOptions()


def read(reader, path: Path, options: ReadOptions = NO_OPTIONS) -> tuple[list[Document], Rejects]:
    rejects = Rejects(None)
    return list(reader(path, options=options, rejects=rejects)), rejects


def write_lines(path: Path, *rows: object) -> Path:
    path.write_text("".join(r if isinstance(r, str) else json.dumps(r) + "\n" for r in rows))
    return path


# --- JSON lines -----------------------------------------------------------------------------


def test_jsonl_columns_are_found_and_others_are_typed_metadata(tmp_path):
    """_id, title and text are taken by name; the rest keeps its type, nested values become JSON."""
    file = write_lines(
        tmp_path / "papers.jsonl",
        {"_id": 7, "title": "T", "text": "x", "year": 2019, "score": 0.5, "open": True},
        {"_id": "b", "text": "y", "tags": ["p", "q"], "none": None, "huge": 2**70, "n": 1},
    )
    first, second = read(read_jsonl, file)[0]
    assert first == Document("7", "x", "T", "", {"year": 2019, "score": 0.5, "open": True})
    assert second.metadata == {"tags": '["p", "q"]', "huge": str(2**70), "n": 1}


@pytest.mark.parametrize("text_column", ["text", "body", "content", "abstract"])
@pytest.mark.parametrize("id_column", ["_id", "id", "doc_id"])
@pytest.mark.parametrize("title_column", ["title", "name"])
def test_common_column_names_are_known(tmp_path, id_column, title_column, text_column):
    """Files of other tools open without options when they use the usual names."""
    file = write_lines(tmp_path / "a.jsonl", {id_column: "1", title_column: "T", text_column: "x"})
    assert read(read_jsonl, file)[0] == [Document("1", "x", "T")]


def test_options_name_columns_and_domain(tmp_path):
    """Named columns win over common names, and the domain is given to every document."""
    file = write_lines(tmp_path / "a.jsonl", {"key": "k", "head": "h", "text": "no", "claim": "c"})
    options = ReadOptions("key", "head", "claim", "medical")
    assert read(read_jsonl, file, options)[0] == [
        Document("k", "c", "h", "medical", {"text": "no"})
    ]


def test_ids_fall_back_to_file_and_line(tmp_path):
    """Without an id column a document is called after its file and line, blank lines counted."""
    file = write_lines(tmp_path / "notes.jsonl", {"text": "x"}, "\n", {"text": "y"})
    assert [d.doc_id for d in read(read_jsonl, file)[0]] == ["notes:1", "notes:3"]
    packed = tmp_path / "notes.jsonl.gz"
    packed.write_bytes(gzip.compress(file.read_bytes()))
    assert [d.doc_id for d in read(read_jsonl, packed)[0]] == ["notes:1", "notes:3"]


def test_beir_metadata_object_is_flattened(tmp_path):
    """BEIR's metadata object joins the columns; a column beside it wins over one inside."""
    row = {"_id": "1", "title": "", "text": "x", "metadata": {"year": 1999, "pmid": "5"}, "pmid": 6}
    write_lines(tmp_path / "corpus.jsonl", row)
    (document,) = read(read_beir, tmp_path)[0]
    assert document.metadata == {"year": 1999, "pmid": 6}


def test_bad_lines_are_rejected_with_line_and_reason(tmp_path):
    """Each way to be wrong is counted under its own reason and the good lines stay."""
    file = tmp_path / "a.jsonl"
    file.write_bytes(
        b'{"_id": "1", "text": "good"}\n'
        b'{"_id": "2", "text": "cut\n'
        b'{"_id": "3", "text": "\xff\xfe"}\n'
        b'["_id", "text"]\n'
        b'{"_id": "5"}\n'
        b'{"_id": "6", "text": 5}\n'
        b'{"_id": "7", "text": "  "}\n'
        b'{"_id": "8", "text": "\\ud800"}\n'
        b'{"_id": null, "text": "x"}\n'
        b'{"_id": true, "text": "x"}\n'
        b'{"_id": "", "text": "x"}\n'
        b'{"_id": "12", "text": "x", "title": ["t"]}\n'
        b'{"_id": "13", "text": "good"}\n'
    )
    log = tmp_path / "out" / "rejected.jsonl"
    with Rejects(log) as rejects:
        documents = list(read_jsonl(file, options=NO_OPTIONS, rejects=rejects))
    assert [d.doc_id for d in documents] == ["1", "13"]
    records = [json.loads(line) for line in log.read_text().splitlines()]
    assert [record["line"] for record in records] == list(range(2, 13))
    assert {record["file"] for record in records} == {str(file)}
    assert rejects.n_rejected == 11
    assert rejects.by_reason == {
        "broken JSON": 1,
        "not UTF-8": 1,
        "not a JSON object": 1,
        "missing text": 1,
        "text is not a string": 1,
        "empty text": 1,
        "not valid Unicode": 1,
        "missing id": 2,
        "id is not a string or whole number": 1,
        "title is not a string": 1,
    }


def test_a_title_alone_is_a_document(tmp_path):
    """A quarter of TREC-COVID has a title and no abstract: such documents are kept."""
    file = write_lines(tmp_path / "a.jsonl", {"_id": "1", "title": "Only a title", "text": ""})
    assert read(read_jsonl, file)[0] == [Document("1", "", "Only a title")]


def test_strict_stops_at_the_first_bad_line(tmp_path):
    """With strict the error names file, line and reason, and nothing is written."""
    file = write_lines(tmp_path / "a.jsonl", {"_id": "1", "text": "x"}, "{broken\n")
    log = tmp_path / "rejected.jsonl"
    with pytest.raises(CorpusError, match=r"a\.jsonl:2 cannot be read: broken JSON"):
        list(read_jsonl(file, options=NO_OPTIONS, rejects=Rejects(log, strict=True)))
    assert not log.exists()


def test_an_old_rejected_file_does_not_stay(tmp_path):
    """What rejected.jsonl holds belongs to the last run, also when that rejected nothing."""
    log = tmp_path / "rejected.jsonl"
    log.write_text("old\n")
    Rejects(log)
    assert not log.exists()


def test_rejects_that_cannot_be_written_are_an_error(tmp_path):
    """A log that cannot be written stops the run with the reason instead of being lost."""
    (tmp_path / "file").write_text("")
    with pytest.raises(CorpusError, match="cannot write rejected lines"):
        Rejects(tmp_path / "file" / "rejected.jsonl").add(Path("a"), 1, "broken JSON")


def test_duplicate_ids_name_both_lines(tmp_path):
    """An id that stands twice in a source is refused with both of its lines."""
    rows = [{"_id": "a", "text": "x"}, {"_id": "b", "text": "y"}, {"_id": "a", "text": "z"}]
    with pytest.raises(CorpusError, match=r"'a' twice:\s+line 1\s+line 3"):
        read(read_jsonl, write_lines(tmp_path / "a.jsonl", *rows))


def test_a_file_without_text_lists_its_columns(tmp_path):
    """No common name and no option: the error shows what there is and the option to use."""
    file = write_lines(tmp_path / "a.jsonl", {"_id": "1", "claim": "x"})
    with pytest.raises(CorpusError, match=r"(?s)columns\s+_id, claim.*--text-column"):
        read(read_jsonl, file)


def test_all_missing_columns_are_named_at_once(tmp_path):
    """Every option that names an absent column is reported together, with the nearest name."""
    file = write_lines(tmp_path / "a.jsonl", {"_id": "1", "text": "x", "headline": "h"})
    options = ReadOptions("key", "headlin", None)
    with pytest.raises(CorpusError, match=r"(?s)'key' for the id.*'headlin'.*use headline"):
        read(read_jsonl, file, options)


def test_a_byte_order_mark_is_no_part_of_the_text(tmp_path):
    """Files that Windows editors saved open like any other."""
    file = tmp_path / "a.jsonl"
    file.write_bytes(b'\xef\xbb\xbf{"_id": "1", "text": "x"}\n')
    assert read(read_jsonl, file)[0] == [Document("1", "x")]


def test_reading_does_not_hold_the_file(tmp_path):
    """40 MB of texts stream through in under 10 MB: only ids are remembered."""
    file = tmp_path / "big.jsonl"
    with file.open("w") as stream:
        for number in range(4000):
            stream.write(
                json.dumps({"_id": str(number), "text": f"{number} " + "x" * 10_000}) + "\n"
            )
    tracemalloc.start()
    n_chars = sum(len(d.text) for d in read_jsonl(file, options=NO_OPTIONS, rejects=Rejects(None)))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert n_chars > 40_000_000
    assert peak < 10_000_000


# --- compression ----------------------------------------------------------------------------

PACK = {
    ".gz": gzip.compress,
    ".xz": lzma.compress,
    ".zst": lambda raw: zstandard.ZstdCompressor().compress(raw),
}


@pytest.mark.parametrize("suffix", PACK)
def test_packed_files_read_like_plain_ones(tmp_path, suffix):
    """gzip, xz and zstd give the same documents, in one frame or in several one after another."""
    rows = [json.dumps({"_id": str(n), "text": f"text {n} " * 500}) + "\n" for n in range(300)]
    plain = write_lines(tmp_path / "a.jsonl", *rows)
    raw = plain.read_bytes()
    packed, joined = tmp_path / f"b.jsonl{suffix}", tmp_path / f"c.jsonl{suffix}"
    packed.write_bytes(PACK[suffix](raw))
    joined.write_bytes(PACK[suffix](raw[:1000]) + PACK[suffix](raw[1000:]))
    expected = read(read_jsonl, plain)[0]
    assert len(expected) == 300
    assert read(read_jsonl, packed)[0] == expected
    assert read(read_jsonl, joined)[0] == expected


@pytest.mark.parametrize("suffix", PACK)
@pytest.mark.parametrize("keep", [0.5, 0.95])
def test_truncated_packed_files_are_refused(tmp_path, suffix, keep):
    """A file cut short never passes for a shorter corpus."""
    rows = "".join(json.dumps({"_id": str(n), "text": f"text {n * n}"}) + "\n" for n in range(5000))
    packed = PACK[suffix](rows.encode())
    file = tmp_path / f"a.jsonl{suffix}"
    file.write_bytes(packed[: int(len(packed) * keep)])
    with pytest.raises(CorpusError, match="ends early"):
        read(read_jsonl, file)


@pytest.mark.parametrize("suffix", PACK)
def test_files_that_are_not_what_the_suffix_says_are_refused(tmp_path, suffix):
    """A plain file called .gz, .xz or .zst is a clear error."""
    file = write_lines(tmp_path / f"a.jsonl{suffix}", {"_id": "1", "text": "x" * 100})
    with pytest.raises(CorpusError, match="cannot be unpacked"):
        read(read_jsonl, file)


def test_zstd_bombs_unpack_piece_by_piece(tmp_path):
    """100 MB of zeros in a few kB are read without copying them over and over."""
    file = tmp_path / "a.jsonl.zst"
    text = json.dumps({"_id": "1", "text": "0" * 100_000_000})
    file.write_bytes(zstandard.ZstdCompressor().compress(text.encode()))
    assert len(read(read_jsonl, file)[0][0].text) == 100_000_000


def test_two_forms_of_a_corpus_are_refused(tmp_path):
    """corpus.jsonl beside corpus.jsonl.gz may differ: the user has to choose."""
    write_lines(tmp_path / "corpus.jsonl", {"_id": "1", "text": "x"})
    (tmp_path / "corpus.jsonl.gz").write_bytes(gzip.compress(b""))
    with pytest.raises(CorpusError, match="more than once"):
        read(read_beir, tmp_path)


# --- tables ---------------------------------------------------------------------------------


def test_csv_columns_get_one_type_each(tmp_path):
    """A metadata column has the narrowest type that fits its values; empty fields are absent."""
    file = tmp_path / "a.csv"
    file.write_text(
        "id,title,text,year,weight,open,zip,mixed\n"
        '1,One,"first, line\nsecond line",2019,1,true,00123,1\n'
        "2,Two,plain,,2.5,FALSE,98765,n/a\n"
    )
    first, second = read(read_csv, file)[0]
    assert first == Document(
        "1",
        "first, line\nsecond line",
        "One",
        "",
        {"year": 2019, "weight": 1.0, "open": True, "zip": "00123", "mixed": "1"},
    )
    assert second.metadata == {"weight": 2.5, "open": False, "zip": "98765", "mixed": "n/a"}
    assert type(first.metadata["weight"]) is float


@pytest.mark.parametrize(
    ("encoding", "guessed", "text"),
    [
        ("utf-8-sig", None, "Fièvre élevée après l\u2019opération, traitée à l\u2019hôpital"),
        ("cp1252", "cp1252", "Fièvre élevée après l\u2019opération, traitée à l\u2019hôpital"),
        ("cp1250", "cp1250", "Gorączka po zabiegu, ból głowy, źle śpi i nie może jeść"),
    ],
)
def test_csv_of_another_encoding_is_read_in_it(tmp_path, encoding, guessed, text):
    """As spreadsheets write it: guessed once from the beginning, counted, values as they are."""
    file = tmp_path / "a.csv"
    rows = "".join(f'd{n},"{text} {n}",{n}\r\n' for n in range(30))
    file.write_bytes(f"id,text,year\r\n{rows}".encode(encoding))
    documents, rejects = read(read_csv, file)
    assert [d.text for d in documents] == [f"{text} {n}" for n in range(30)]
    assert [d.metadata["year"] for d in documents] == list(range(30))
    assert rejects.n_rejected == 0
    assert rejects.noted == ({"encoding guessed": 1} if guessed else {})


def test_csv_in_utf_16_is_refused_with_the_command_that_converts_it(tmp_path):
    file = tmp_path / "a.csv"
    file.write_bytes("id,text\nd1,gout hurts\n".encode("utf-16"))
    with pytest.raises(CorpusError, match=r"UTF-16(.|\n)*iconv -f utf-16"):
        read(read_csv, file)


def test_csv_fields_may_be_long(tmp_path):
    """A field of 5 MB passes: the csv module's own limit is 131,072 characters."""
    file = tmp_path / "a.csv"
    file.write_text("id,text\n1," + "x" * 5_000_000 + "\n")
    assert len(read(read_csv, file)[0][0].text) == 5_000_000


def test_bad_csv_rows_are_rejected_with_their_first_line(tmp_path):
    """Wrong field counts, broken quotes and wrong bytes cost one row each, not the file."""
    file = tmp_path / "a.csv"
    file.write_bytes(
        b'id,text\n1,"two\nlines"\n2\n3,"a"b\n4,\xff\n5,good,more\n\n6,good\n'
        b'7,"quote ""in"" text"\n'
    )
    log = tmp_path / "rejected.jsonl"
    with Rejects(log) as rejects:
        documents = list(read_csv(file, options=NO_OPTIONS, rejects=rejects))
    assert [(d.doc_id, d.text) for d in documents] == [
        ("1", "two\nlines"),
        ("6", "good"),
        ("7", 'quote "in" text'),
    ]
    lines = [json.loads(line)["line"] for line in log.read_text().splitlines()]
    assert lines == [4, 5, 6, 7]
    assert rejects.by_reason == {
        "wrong number of fields": 2,
        "broken quoting": 1,
        "not UTF-8": 1,
    }


def test_a_quote_that_never_closes_is_an_error(tmp_path):
    """It would swallow the rest of the file as one field, so it stops the run with its line."""
    file = tmp_path / "a.csv"
    file.write_text('id,text\n1,fine\n2,"open\n3,lost\n4,lost\n')
    with pytest.raises(CorpusError, match=r"a\.csv:3 opens a quote that never closes"):
        read(read_csv, file)


def test_csv_headers_must_be_distinct(tmp_path):
    """Two columns of one name cannot both be read; a column without a name gets its place."""
    twice, unnamed = tmp_path / "a.csv", tmp_path / "b.csv"
    twice.write_text("id,text,text\n1,a,b\n")
    unnamed.write_text(",text\n0,a\n")
    with pytest.raises(CorpusError, match="columns of the same name: text"):
        read(read_csv, twice)
    assert read(read_csv, unnamed)[0] == [Document("b:2", "a", metadata={"column_1": 0})]


def test_tsv_and_packed_csv(tmp_path):
    """Tabs separate in .tsv, and tables may be packed; ids count file lines."""
    tsv, packed = tmp_path / "a.tsv", tmp_path / "b.csv.xz"
    tsv.write_text("name\tbody\nT\tone, two\n")
    packed.write_bytes(lzma.compress(b"name,body\r\nT,x\r\n"))
    assert read(read_tsv, tsv)[0] == [Document("a:2", "one, two", "T")]
    assert read(read_csv, packed)[0] == [Document("b:2", "x", "T")]


def test_parquet_types_and_rows(tmp_path, caplog):
    """Parquet keeps its types, dates become text, binary columns are named and left out."""
    import datetime

    import pyarrow as pa
    import pyarrow.parquet as pq

    file = tmp_path / "a.parquet"
    table = pa.table(
        {
            "doc_id": pa.array([1, 2, 3]),
            "abstract": ["x", None, "z"],
            "year": [2001, 2002, 2003],
            "day": [datetime.date(2020, 1, 2)] * 3,
            "tags": [["a"], [], ["b", "c"]],
            "picture": pa.array([b"\x00"] * 3, pa.binary()),
        }
    )
    pq.write_table(table, file)
    documents, rejects = read(read_parquet, file)
    assert documents[0] == Document(
        "1", "x", metadata={"year": 2001, "day": "2020-01-02", "tags": '["a"]'}
    )
    assert [d.doc_id for d in documents] == ["1", "3"]
    assert rejects.by_reason == {"missing text": 1}
    assert "binary column picture is left out" in caplog.text


def test_truncated_parquet_is_refused(tmp_path):
    """A Parquet file without its footer is a clear error."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    sink = io.BytesIO()
    pq.write_table(pa.table({"text": ["x"] * 1000}), sink)
    file = tmp_path / "a.parquet"
    file.write_bytes(sink.getvalue()[:-20])
    with pytest.raises(CorpusError, match="cannot be read as Parquet"):
        read(read_parquet, file)


# --- folders --------------------------------------------------------------------------------


def test_text_folder_ids_titles_and_rejects(tmp_path):
    """Paths are ids, the first heading outside code is the title, hidden files are left out."""
    (tmp_path / "sub" / ".git").mkdir(parents=True)
    (tmp_path / "sub" / ".git" / "x.md").write_text("hidden")
    (tmp_path / "sub" / "b.md").write_text("```\n# no\n```\n\n## Real title ##\ntext")
    (tmp_path / "a.txt").write_text("# not a heading in plain text")
    (tmp_path / "c.txt").write_bytes(b"\x89PNG\r\n\x1a\n\x00\x01")
    (tmp_path / "d.md").write_text(" \n")
    (tmp_path / "e.html").write_text("other kind")
    documents, rejects = read(read_text_folder, tmp_path, ReadOptions(domain="medical"))
    assert [(d.doc_id, d.title) for d in documents] == [("a.txt", "a"), ("sub/b.md", "Real title")]
    assert documents[0].metadata == {"path": "a.txt"} and documents[0].domain == "medical"
    assert rejects.by_reason == {"not UTF-8": 1, "empty text": 1}


def test_links_to_folders_are_not_followed(tmp_path):
    """A link to a parent would never end."""
    (tmp_path / "a.txt").write_text("x")
    (tmp_path / "loop").symlink_to(tmp_path, target_is_directory=True)
    assert [d.doc_id for d in read(read_text_folder, tmp_path)[0]] == ["a.txt"]


@pytest.mark.parametrize(
    ("name", "reader"),
    [
        ("a.jsonl", "jsonl"),
        ("a.jsonl.zst", "jsonl"),
        ("a.ndjson", "jsonl"),
        ("a.CSV", "csv"),
        ("a.tsv.gz", "tsv"),
        ("a.parquet", "parquet"),
        ("a.md", "text"),
        ("a.py", "python"),
    ],
)
def test_readers_are_found_by_suffix(tmp_path, name, reader):
    """The suffix below the compression decides."""
    (tmp_path / name).write_text("")
    assert detect_reader(tmp_path / name) == reader


@pytest.mark.parametrize("name", ["a.png", "a.parquet.gz", "a.gz", "a"])
def test_unknown_kinds_list_the_known_ones(tmp_path, name):
    """What cannot be read is refused with the list of what can."""
    (tmp_path / name).write_text("")
    with pytest.raises(CorpusError, match=r"(?s)not a source of a known kind.*jsonl.*parquet"):
        detect_reader(tmp_path / name)


def test_folders_are_told_apart_by_what_they_hold(tmp_path):
    """corpus.jsonl makes BEIR, text alone is text, anything else is read file by file."""
    for name, files in {
        "beir": ["corpus.jsonl.xz", "a.py"],
        "files": ["a.py", "README.md"],
        "text": ["a.md", "b.txt", "c.bin"],
        "empty": [],
    }.items():
        (tmp_path / name).mkdir()
        for file in files:
            (tmp_path / name / file).write_text("")
    for name in ("beir", "files", "text"):
        assert detect_reader(tmp_path / name) == name
    with pytest.raises(CorpusError, match="not a source of a known kind"):
        detect_reader(tmp_path / "empty")
    with pytest.raises(CorpusError, match="does not exist"):
        detect_reader(tmp_path / "absent")


# --- sources --------------------------------------------------------------------------------


@pytest.fixture
def shop(home: Path) -> Path:
    """A home with two shipped corpora."""
    for name in ("zoology", "medical"):
        folder = home / "corpora" / "demo" / name
        folder.mkdir(parents=True)
        write_lines(folder / "corpus.jsonl", {"_id": name, "text": "x"})
    (home / "corpora/demo/zoology/SOURCE.json").write_text('{"domain": "animals"}')
    return home


def test_sources_are_paths_or_shipped_names(shop, tmp_path):
    """A name finds the shipped corpus, a path the file; the domain comes from the source."""
    assert list(shipped_corpora(shop)) == ["medical", "zoology"]
    found = resolve_source("medical", shop)
    assert (found.name, found.reader, found.domain) == ("medical", "beir", "medical")
    assert resolve_source("zoology", shop).domain == "animals"
    file = write_lines(tmp_path / "mine.jsonl", {"text": "y"})
    found = resolve_source(str(file), shop)
    assert (found.name, found.reader, found.domain) == ("mine", "jsonl", "")
    documents = read_source("medical", options=NO_OPTIONS, rejects=Rejects(None), home=shop)
    assert [(d.doc_id, d.domain) for d in documents] == [("medical", "medical")]
    options = ReadOptions(domain="other")
    documents = read_source("medical", options=options, rejects=Rejects(None), home=shop)
    assert [d.domain for d in documents] == ["other"], "the option wins"


def test_unknown_sources_name_the_nearest(shop, tmp_path):
    """A typo in a shipped name is answered with the name; a home without corpora with --home."""
    with pytest.raises(CorpusError, match=r"shipped corpora: medical, zoology[\s\S]*use medical"):
        resolve_source("medicla", shop)
    with pytest.raises(CorpusError, match="--home"):
        resolve_source("medical", tmp_path)
    with pytest.raises(CorpusError, match="--home"):
        shipped_corpora(tmp_path)


def test_a_source_file_that_is_wrong_is_an_error(shop):
    """SOURCE.json that is no JSON, or names an unknown reader, is reported as such."""
    record = shop / "corpora/demo/zoology/SOURCE.json"
    record.write_text('{"reader": "jsonnl"}')
    with pytest.raises(CorpusError, match="use jsonl"):
        resolve_source("zoology", shop)
    record.write_text("{")
    with pytest.raises(CorpusError, match="not valid JSON"):
        resolve_source("zoology", shop)
