"""Synthetic suites: what is held out is not in the document, and the suite says what it is."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from lbr_search.bench.known_items import documents_of, hold_out, make_suite
from lbr_search.bench.runner import run_bench
from lbr_search.corpus.suite import load_suite
from lbr_search.errors import CorpusError
from lbr_search.index.stored import join_chunks
from lbr_search.types import Document
from tests.conftest import HashEncoder
from tests.hash_cli import run

TEXT = "one two three four five six seven eight nine ten"
CODE = '''def add(first, second):
    """Return the sum of two prices. It rounds."""
    total = first + second
    if total > 100:
        return round(total)
    return total
'''


def test_each_kind_of_part_is_held_out() -> None:
    """Docstring, heading, title, definition, in this order; the rest lacks the query."""
    cases = {
        "docstring": Document("a", CODE, "add two numbers"),
        "heading": Document("b", f"Before.\n\n## Side effects ##\n\n{TEXT}", "Some drug"),
        "title": Document("c", TEXT, "Side effects"),
        "definition": Document("d", f"Folic acid is a vitamin that cells need to divide. {TEXT}"),
    }
    queries = {
        "docstring": "Return the sum of two prices.",
        "heading": "Side effects",
        "title": "Side effects",
        "definition": "Folic acid",
    }
    for kind, document in cases.items():
        item = hold_out(document)
        assert (item.kind, item.query) == (kind, queries[kind])
        assert item.query not in f"{item.document.title} {item.document.text}"
        assert item.document.doc_id == document.doc_id
    assert "total = first + second" in hold_out(cases["docstring"]).document.text


def test_what_tells_its_own_answer_is_not_asked() -> None:
    """A title that the text repeats, one word alone, a text of nothing else, broken Python."""
    for document in (
        Document("a", f"Side effects {TEXT}", "Side effects"),
        Document("b", TEXT, "Aspirin"),
        Document("c", "too short", "Side effects"),
        Document("d", TEXT),
        Document("e", f'say """hello""" {TEXT}'),
    ):
        assert hold_out(document) is None


def test_documents_come_back_from_their_chunks(tmp_path: Path) -> None:
    """Cut with overlap, indexed, and put together again: the same titles and texts."""
    assert join_chunks([(4, "two three"), (0, "one two")]) == "one two three"
    rows = [{"_id": f"d{n}", "title": f"note {n}", "text": f"{TEXT} {n}. " * 9} for n in range(4)]
    (tmp_path / "notes.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    command = ("ingest", tmp_path / "notes.jsonl", "--index", tmp_path / "i", "--encoder", "hash:a")
    outcome = run(*command, "--chunk-tokens", 16, "--overlap", 4)
    assert outcome.code == 0, outcome.err
    found = {document.doc_id: document for document in documents_of(tmp_path / "i")}
    for row in rows:
        assert found[row["_id"]].title == row["title"]
        assert found[row["_id"]].text.split() == row["text"].split()


@pytest.fixture
def index(tmp_path: Path) -> Path:
    """Twelve notes with titles, two of which are the same."""
    names = ["sore throat", "sore throat", *(f"finding number {n}" for n in range(10))]
    rows = [
        {"_id": f"d{n}", "title": name, "text": f"words{n} about{n} {TEXT} item{n}"}
        for n, name in enumerate(names)
    ]
    (tmp_path / "notes.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    command = ("ingest", tmp_path / "notes.jsonl", "--index", tmp_path / "i", "--encoder", "hash:a")
    assert run(*command, "--domain", "medical").code == 0
    return tmp_path / "i"


def test_a_made_suite_is_whole_and_says_that_it_is_synthetic(index: Path, tmp_path: Path) -> None:
    """Ten of twelve could be asked, six are; the mark is in every output of a benchmark."""
    made = make_suite(index, name="made", into=tmp_path / "corpora", n_queries=6)
    assert (made.n_documents, made.by_kind, made.n_repeated) == (12, {"title": 6}, 2)
    suite = load_suite("made", home=tmp_path)
    assert suite.is_synthetic and suite.domain == "medical"
    texts = {document.doc_id: document for document in suite.documents()}
    for query in suite.queries:
        [answer] = suite.qrels[query.query_id]
        assert texts[answer].title == ""
        assert query.text not in texts[answer].text
    assert sum(bool(document.title) for document in texts.values()) == 6
    page = tmp_path / "made.html"
    result = run_bench([suite.name], encoders=[HashEncoder()], home=tmp_path, html_path=page)
    assert "synthetic: known items: title 6" in result.warnings[0]
    assert result.to_json()["settings"]["suites"]["made"]["synthetic"] is True
    assert "made (synthetic)" in page.read_text()
    again = make_suite(index, name="again", into=tmp_path / "corpora", n_queries=6)
    same = [(tmp_path / "corpora" / n / "queries.jsonl").read_text() for n in ("made", "again")]
    assert same[0] == same[1], "the same seed chooses the same documents"
    assert again.by_kind == made.by_kind


def test_the_commands_make_and_list(index: Path, tmp_path: Path) -> None:
    """`corpora make` writes it, `check` finds it whole, `bench` shows the mark."""
    outcome = run("--home", tmp_path, "corpora", "make", index, "--name", "own", "--queries", 5)
    assert outcome.code == 0, outcome.err
    assert "synthetic queries: title 5; 2 not asked" in outcome.err
    assert run("--home", tmp_path, "corpora", "check", "own").code == 0
    shown = run("--home", tmp_path, "bench", "own", "--encoder", "hash:a", "--mode", "lexical")
    assert "own (synthetic)" in shown.out
    taken = run("--home", tmp_path, "corpora", "make", index, "--name", "own")
    assert taken.code == 1 and "exists" in taken.err


def test_an_index_without_anything_to_hold_out_is_refused(tmp_path: Path) -> None:
    """Texts without titles, headings or definitions make no suite."""
    (tmp_path / "bare.jsonl").write_text(json.dumps({"_id": "a", "text": TEXT}) + "\n")
    command = ("ingest", tmp_path / "bare.jsonl", "--index", tmp_path / "i", "--encoder", "hash:a")
    assert run(*command).code == 0
    with pytest.raises(CorpusError, match="no document"):
        make_suite(tmp_path / "i", name="made", into=tmp_path / "corpora")
    assert not (tmp_path / "corpora" / "made").exists()
