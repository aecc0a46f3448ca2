"""BEIR folders open as suites; what is odd is counted, what is wrong is refused with its line."""

from __future__ import annotations

import gzip
import json
import lzma
from pathlib import Path

import pytest

from lbr_search.corpus.suite import discover_suites, load_suite, read_qrels
from lbr_search.errors import CorpusError
from lbr_search.types import Query


def make_suite(folder: Path, *, qrels: str = "q1\td1\t1\nq2\td2\t2\nq2\td1\t0\n") -> Path:
    (folder / "qrels").mkdir(parents=True)
    documents = [{"_id": f"d{n}", "title": "T", "text": f"text {n}"} for n in range(1, 4)]
    queries = [{"_id": f"q{n}", "text": f"query {n}"} for n in (2, 1, 3)]
    (folder / "corpus.jsonl").write_text("".join(json.dumps(d) + "\n" for d in documents))
    (folder / "queries.jsonl").write_text("".join(json.dumps(q) + "\n" for q in queries))
    (folder / "qrels" / "test.tsv").write_text("query-id\tcorpus-id\tscore\n" + qrels)
    return folder


def test_a_suite_holds_the_judged_queries_in_file_order(tmp_path):
    """Queries without judgements in the split are left out; graded and zero labels are kept."""
    suite = load_suite(make_suite(tmp_path / "medical" / "tiny"), home=tmp_path)
    assert (suite.name, suite.domain, suite.split) == ("tiny", "medical", "test")
    assert suite.queries == [Query("q2", "query 2"), Query("q1", "query 1")]
    assert suite.qrels == {"q1": {"d1": 1}, "q2": {"d2": 2, "d1": 0}}
    assert [d.doc_id for d in suite.documents()] == ["d1", "d2", "d3"]
    assert [d.doc_id for d in suite.documents()] == ["d1", "d2", "d3"], "can be read again"
    assert {d.domain for d in suite.documents()} == {"medical"}
    assert suite.n_documents == 3 and suite.warnings == []


def test_unknown_ids_in_qrels_are_counted(tmp_path):
    """A judged document that is absent counts as not found; a query without text is left out."""
    folder = make_suite(tmp_path / "s", qrels="q1\tdX\t1\nq1\td1\t1\nq9\td1\t1\nq2\td1\t0\n")
    suite = load_suite(folder, home=tmp_path)
    assert suite.qrels == {"q1": {"dX": 1, "d1": 1}, "q2": {"d1": 0}}
    assert suite.warnings == [
        "1 of 3 queries of test have no text; left out",
        "1 of 2 judged documents are not in the corpus",
        "1 of 2 queries have no relevant document",
    ]


def test_rejected_documents_are_counted(tmp_path):
    """A corpus line that cannot be read is a warning of the suite, never silence."""
    folder = make_suite(tmp_path / "s")
    with (folder / "corpus.jsonl").open("a") as stream:
        stream.write('{"_id": "d4", "text": ""}\n')
    assert load_suite(folder, home=tmp_path).warnings == ["1 documents rejected: empty text"]


def test_qrels_of_another_suite_are_refused(tmp_path):
    """When no judged query is known the files do not belong together."""
    folder = make_suite(tmp_path / "s", qrels="x\td1\t1\n")
    with pytest.raises(CorpusError, match=r"1 judged, 3 known"):
        load_suite(folder, home=tmp_path)


def test_dev_and_validation_are_one_split(tmp_path):
    """Either name finds the other's file; a split that is not there lists those that are."""
    folder = make_suite(tmp_path / "s")
    (folder / "qrels" / "test.tsv").rename(folder / "qrels" / "validation.tsv")
    assert load_suite(folder, split="dev", home=tmp_path).split == "validation"
    with pytest.raises(CorpusError, match="no split 'test'; it has: validation"):
        load_suite(folder, home=tmp_path)
    (folder / "qrels" / "validation.tsv").rename(folder / "qrels" / "dev.tsv")
    assert load_suite(folder, split="validation", home=tmp_path).split == "dev"


def test_all_files_may_be_packed(tmp_path):
    """Corpus, queries and qrels open from gzip and xz as from plain files."""
    plain = load_suite(make_suite(tmp_path / "a"), home=tmp_path)
    folder = make_suite(tmp_path / "b")
    for name, suffix, pack in (
        ("corpus.jsonl", ".xz", lzma.compress),
        ("queries.jsonl", ".gz", gzip.compress),
        ("qrels/test.tsv", ".gz", gzip.compress),
    ):
        file = folder / name
        (folder / f"{name}{suffix}").write_bytes(pack(file.read_bytes()))
        file.unlink()
    packed = load_suite(folder, home=tmp_path)
    assert packed.qrels == plain.qrels and packed.queries == plain.queries
    assert list(packed.documents()) == list(plain.documents())


def test_mistakes_in_queries_and_qrels_are_named_together(tmp_path):
    """All wrong lines of a file are reported at once, with file and line."""
    folder = make_suite(tmp_path / "s", qrels="q1\td1\nq1\td2\thigh\nq1\td3\t1\nq1\td3\t0\n")
    with pytest.raises(CorpusError) as caught:
        load_suite(folder, home=tmp_path)
    for line in ("tsv:2 is not", "tsv:3 is not", "tsv:5 judges 'q1', 'd3' twice"):
        assert line in caught.value.message
    folder = make_suite(tmp_path / "t")
    (folder / "queries.jsonl").write_text(
        '{"_id": "q1", "text": "x"}\n{"_id": "q1", "text": "y"}\n{"_id": "q2"}\n'
    )
    with pytest.raises(CorpusError) as caught:
        load_suite(folder, home=tmp_path)
    assert "jsonl:2 repeats" in caught.value.message and "jsonl:3 has no" in caught.value.message


def test_qrels_without_a_header_lose_no_line(tmp_path):
    """The first line is a header only when it says so."""
    file = tmp_path / "test.tsv"
    file.write_text("q1\td1\t1\r\nq2\td2\t1\n")
    assert read_qrels(file) == {"q1": {"d1": 1}, "q2": {"d2": 1}}


def test_the_hash_is_that_of_the_documents(tmp_path):
    """Splits of a corpus share its hash; another text or domain changes it."""
    one = load_suite(make_suite(tmp_path / "one"), home=tmp_path)
    two = load_suite(make_suite(tmp_path / "two", qrels="q1\td1\t1\n"), home=tmp_path)
    other = load_suite(make_suite(tmp_path / "code" / "one"), home=tmp_path)
    assert one.content_hash == two.content_hash != other.content_hash
    with (tmp_path / "one" / "corpus.jsonl").open("a") as stream:
        stream.write('{"_id": "d4", "text": "more"}\n')
    assert load_suite(tmp_path / "one", home=tmp_path).content_hash != one.content_hash


def test_suites_are_discovered_at_any_depth(tmp_path):
    """Suites and run-time suites are found, sorted; plain corpora and hidden folders are not."""
    make_suite(tmp_path / "medical" / "b")
    make_suite(tmp_path / "a")
    make_suite(tmp_path / ".partial")
    (tmp_path / "plain").mkdir()
    (tmp_path / "plain" / "corpus.jsonl").write_text("")
    (tmp_path / "code").mkdir()
    (tmp_path / "code" / "SOURCE.json").write_text('{"reader": "python-stdlib"}')
    found = [p.relative_to(tmp_path).as_posix() for p in discover_suites(tmp_path)]
    assert found == ["a", "code", "medical/b"]
    assert discover_suites(tmp_path / "a") == [tmp_path / "a"]
    with pytest.raises(CorpusError, match="is not a folder"):
        discover_suites(tmp_path / "absent")


def test_names_are_looked_up_in_the_home(home, tmp_path):
    """A suite under corpora/ is known by its name; a wrong name shows the nearest."""
    make_suite(home / "corpora" / "scifact")
    assert load_suite("scifact", home=home).name == "scifact"
    with pytest.raises(CorpusError, match="use scifact"):
        load_suite("scifcat", home=home)
    (tmp_path / "nothing").mkdir()
    with pytest.raises(CorpusError, match="is not a suite"):
        load_suite(tmp_path / "nothing", home=home)


@pytest.mark.corpora
def test_real_suites_open_without_warnings(corpora):
    """All twelve real suites have documents, judged queries and no unknown id."""
    folders = discover_suites(corpora / "suites")
    assert len(folders) == 12
    for folder in folders:
        suite = load_suite(folder, home=corpora)
        record = json.loads((folder / "SOURCE.json").read_text())
        assert suite.n_documents == record["documents"]
        assert len(suite.queries) == record["queries"]["test"]
        assert suite.warnings == []
