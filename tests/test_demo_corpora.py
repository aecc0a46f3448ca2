"""The shipped medical and chemistry passages: layout, counts, judgements, and the lexical gap."""

from __future__ import annotations

import json
import re
import unicodedata
from collections import Counter
from pathlib import Path

import pytest
import Stemmer
from bm25s.stopwords import STOPWORDS_EN

DEMO = Path(__file__).resolve().parent.parent / "corpora" / "demo"
PRESENT = [name for name in ("medical", "chemistry") if (DEMO / name / "SOURCE.json").is_file()]
KINDS = ("lexical-gap", "shared-words")
SPLITS = {"test": 48, "dev": 12}
STEMMER = Stemmer.Stemmer("english")

Rows = list[dict]
Judgements = dict[str, dict[str, int]]


def terms(text: str) -> set[str]:
    """Stems of the words of two and more characters that are not stop words, as bm25s cuts them."""
    words = re.findall(r"(?u)\b\w\w+\b", text.lower())
    return {STEMMER.stemWord(word) for word in words if word not in STOPWORDS_EN}


def read_jsonl(path: Path) -> Rows:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def read_qrels(folder: Path, split: str) -> Judgements:
    header, *lines = (folder / "qrels" / f"{split}.tsv").read_text(encoding="utf-8").splitlines()
    assert header == "query-id\tcorpus-id\tscore"
    judgements: Judgements = {}
    for line in lines:
        query_id, doc_id, score = line.split("\t")
        judged = judgements.setdefault(query_id, {})
        assert doc_id not in judged, f"{split}: {query_id} judges {doc_id} twice"
        judged[doc_id] = int(score)
    return judgements


@pytest.fixture(params=PRESENT)
def folder(request: pytest.FixtureRequest) -> Path:
    return DEMO / request.param


@pytest.fixture
def passages(folder: Path) -> Rows:
    return read_jsonl(folder / "corpus.jsonl")


@pytest.fixture
def questions(folder: Path) -> Rows:
    return read_jsonl(folder / "queries.jsonl")


@pytest.fixture
def judged(folder: Path) -> Judgements:
    return {**read_qrels(folder, "test"), **read_qrels(folder, "dev")}


def shared_words(question: dict, passages: Rows, judged: Judgements) -> dict[str, set[str]]:
    """Content words that a query shares with each of its answers (grade 2)."""
    answers = {doc_id for doc_id, grade in judged[question["_id"]].items() if grade == 2}
    asked = terms(question["text"])
    return {
        p["_id"]: asked & terms(f"{p['title']} {p['text']}")
        for p in passages
        if p["_id"] in answers
    }


def test_both_demo_folders_are_found():
    """Without this, a moved folder would leave nothing to check."""
    assert PRESENT == ["medical", "chemistry"]


def test_counts_and_kinds(passages: Rows, questions: Rows):
    """At least 145 passages; 60 queries, half of each kind."""
    assert len(passages) >= 145
    assert Counter(q["metadata"]["kind"] for q in questions) == dict.fromkeys(KINDS, 30)


def test_ids_and_texts_are_unique_and_filled(passages: Rows, questions: Rows):
    """No id, title, passage or query occurs twice (case and spaces aside), and none is empty."""
    for rows, fields in ((passages, ("_id", "title", "text")), (questions, ("_id", "text"))):
        for field in fields:
            counted = Counter(" ".join(row[field].lower().split()) for row in rows)
            assert "" not in counted
            assert [value for value, n in counted.items() if n > 1] == []


def test_passages_have_40_to_160_words(passages: Rows):
    """Long enough to answer, short enough to be one chunk."""
    lengths = {p["_id"]: len(p["text"].split()) for p in passages}
    assert {doc_id: n for doc_id, n in lengths.items() if not 40 <= n <= 160} == {}


def test_metadata_is_flat_and_years_are_years(passages: Rows):
    """Each passage has a category; a year, where given, is a plausible integer."""
    for passage in passages:
        metadata = passage["metadata"]
        assert isinstance(metadata["category"], str)
        assert metadata["category"]
        assert all(isinstance(v, str | int | float | bool) or v is None for v in metadata.values())
        if "year" in metadata:
            assert type(metadata["year"]) is int
            assert 1000 <= metadata["year"] <= 2025


def test_files_are_clean_utf8(folder: Path):
    """Valid NFC UTF-8 without byte order mark, control characters or replacement characters."""
    files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    assert len(files) >= 6
    for path in files:
        text = path.read_bytes().decode("utf-8")
        assert text.endswith("\n"), path
        assert unicodedata.is_normalized("NFC", text), path
        # Cf (byte order mark, zero-width), Cc (control), Co, Cn: nothing that cannot be seen
        odd = {c for c in text if unicodedata.category(c)[0] == "C"} - {"\n", "\t"}
        assert odd | ({"\ufffd"} & set(text)) == set(), path


def test_every_query_is_judged_in_one_split(folder: Path, questions: Rows):
    """48 test and 12 dev queries, disjoint, together all, both kinds equally often in each."""
    kind = {q["_id"]: q["metadata"]["kind"] for q in questions}
    split_ids = {split: set(read_qrels(folder, split)) for split in SPLITS}
    assert split_ids["test"] | split_ids["dev"] == set(kind)
    assert split_ids["test"] & split_ids["dev"] == set()
    for split, n_queries in SPLITS.items():
        found = Counter(kind[query_id] for query_id in split_ids[split])
        assert found == dict.fromkeys(KINDS, n_queries // 2), split


def test_judgements_are_graded_and_known(passages: Rows, judged: Judgements):
    """Grades are 1 or 2, passages exist, and each query has an answer (2)."""
    known = {p["_id"] for p in passages}
    for query_id, grades in judged.items():
        assert set(grades) <= known, query_id
        assert set(grades.values()) <= {1, 2}, query_id
        assert 2 in grades.values(), query_id


def test_lexical_gap_queries_share_no_word_with_their_answers(
    passages: Rows, questions: Rows, judged: Judgements
):
    """A search by words alone cannot see the answer of a lexical-gap query."""
    broken = {
        (q["text"], doc_id): words
        for q in questions
        if q["metadata"]["kind"] == "lexical-gap"
        for doc_id, words in shared_words(q, passages, judged).items()
        if words
    }
    assert broken == {}


def test_other_queries_share_words_with_an_answer(
    passages: Rows, questions: Rows, judged: Judgements
):
    """The other half is within reach of a search by words."""
    unreached = [
        q["text"]
        for q in questions
        if q["metadata"]["kind"] == "shared-words"
        and not any(shared_words(q, passages, judged).values())
    ]
    assert unreached == []


def test_source_tells_the_truth(folder: Path, passages: Rows, questions: Rows):
    """SOURCE.json names the domain and the licence, and its counts are those of the files."""
    source = json.loads((folder / "SOURCE.json").read_text(encoding="utf-8"))
    assert source["domain"] == folder.name
    assert source["licence"].startswith("Apache-2.0")
    assert source["name"]
    assert source["description"]
    for key, n in (("documents", len(passages)), ("queries", len(questions))):
        assert source["counts"][key] == n, key


def test_terms_is_strict_enough_to_see_inflected_words():
    """The rule sees through case, inflection and punctuation, and drops stop words only."""
    assert terms("The bleeding, of Bleeds") == {"bleed"}
    assert terms("with and of") == set()
    assert terms("cannot") == {"cannot"}
