"""Contamination: planted texts are found by kind, others are not, and scores are split by them."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest

from lbr_search.bench.clean_scores import clean_json, clean_scores
from lbr_search.bench.contamination import find_overlaps, training_texts
from lbr_search.corpus.suite import Suite
from lbr_search.errors import ConfigError, CorpusError, ShapeError
from lbr_search.types import Document, Query
from tests.hash_cli import run
from tests.test_cli import write_suite

RANDOM = random.Random(3)
WORDS = [f"word{n}" for n in range(5_000)]


def words(n: int) -> str:
    return " ".join(RANDOM.choice(WORDS) for _ in range(n))


QUERIES = {"short": words(3), "plain": words(8), "long": words(30), "other": words(9)}
DOCUMENTS = {f"d{n}": words(60) for n in range(6)}


@pytest.fixture
def suite() -> Suite:
    """Four queries; d0 answers two of them, d3 is judged irrelevant."""
    return Suite(
        name="made",
        domain="x",
        documents=lambda: iter([Document(name, text) for name, text in DOCUMENTS.items()]),
        queries=[Query(name, text) for name, text in QUERIES.items()],
        qrels={
            "short": {"d0": 1},
            "plain": {"d0": 2, "d3": 0},
            "long": {"d1": 1},
            "other": {"d2": 1},
        },
        content_hash="c0ffee",
    )


def write(path: Path, *texts: str) -> Path:
    rows = [{"_id": f"t{n}", "text": text} for n, text in enumerate(texts)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_planted_texts_are_found_by_kind(suite: Suite, tmp_path: Path) -> None:
    """A query within a text, a run of 13 words, a text with one word changed; nothing else."""
    near = DOCUMENTS["d1"].replace(DOCUMENTS["d1"].split()[30], "changed", 1)
    file = write(
        tmp_path / "train.jsonl",
        f"{words(20)} {QUERIES['plain'].upper()}! {words(20)}",
        f"{words(5)} {' '.join(QUERIES['long'].split()[4:17])} {words(5)}",
        near,
        f"{words(9)} {' '.join(DOCUMENTS['d0'].split()[:12])} {words(9)}",  # one word too few
        f"{words(9)} {QUERIES['short']} {words(9)}",
        DOCUMENTS["d3"],
    )
    [found], n_texts = find_overlaps([suite], [file])
    assert n_texts == 6
    assert found.queries == {"plain": {"whole text"}, "long": {"13-gram"}}
    assert found.positives == {"long": {"13-gram", "near duplicate"}}
    assert found.touched == {"plain", "long"}
    assert (found.n_queries, found.n_positives, found.n_short) == (4, 3, 1)


def test_a_short_query_is_seen_where_a_text_is_the_same(suite: Suite, tmp_path: Path) -> None:
    """Three words within a text are chance; as a training query of their own they are not."""
    within = write(tmp_path / "within.jsonl", f"{QUERIES['short']} {words(9)}")
    assert find_overlaps([suite], [within])[0][0].queries == {}
    same = write(tmp_path / "same.jsonl", QUERIES["short"].upper() + "?")
    assert find_overlaps([suite], [same])[0][0].queries == {"short": {"same text"}}


def test_a_document_that_answers_two_queries_touches_both(suite: Suite, tmp_path: Path) -> None:
    """13 words in a row are enough, whatever the case and the punctuation."""
    run_of_words = ", ".join(DOCUMENTS["d0"].split()[10:23]).title()
    [found], _ = find_overlaps([suite], [write(tmp_path / "t.jsonl", run_of_words)])
    assert found.positives == {"short": {"13-gram"}, "plain": {"13-gram"}}
    assert found.queries == {}


def test_every_string_of_a_line_counts_but_ids(tmp_path: Path) -> None:
    """Queries, positives and lists of negatives are training text; ids and numbers are not."""
    row = {"_id": "x", "query": "a b", "positive": "c", "negatives": ["d", "e"], "n": 3, "t": " "}
    (tmp_path / "pairs.jsonl").write_text(json.dumps(row) + "\n")
    assert list(training_texts(tmp_path / "pairs.jsonl")) == ["a b", "c", "d", "e"]
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "one.md").write_text("# Title\n\nsome words\n")
    assert "some words" in next(iter(training_texts(tmp_path / "notes")))


def test_wrong_files_are_refused(suite: Suite, tmp_path: Path) -> None:
    """Missing, broken or empty training files stop the command: a clean bill needs a reading."""
    with pytest.raises(CorpusError, match="does not exist"):
        find_overlaps([suite], [tmp_path / "none.jsonl"])
    (tmp_path / "broken.jsonl").write_text('{"text": "a"}\n{"text": \n')
    with pytest.raises(CorpusError, match=r"broken\.jsonl"):
        find_overlaps([suite], [tmp_path / "broken.jsonl"])
    (tmp_path / "empty.jsonl").write_text('{"_id": "only an id"}\n')
    with pytest.raises(CorpusError, match="holds no training text"):
        find_overlaps([suite], [tmp_path / "empty.jsonl"])


def results(values: dict[str, dict[str, float]]) -> dict:
    return {
        "suites": {"made": {"arms": {arm: {"per_query": v} for arm, v in values.items()}}},
        "settings": {
            "suites": {"made": {"comparisons": [{"system": "dense", "baseline": "lexical"}]}}
        },
    }


def test_scores_are_split_by_what_was_seen(suite: Suite, tmp_path: Path) -> None:
    """Means over all, untouched and touched queries; differences over both sets."""
    file = write(tmp_path / "t.jsonl", QUERIES["plain"], QUERIES["long"])
    overlaps, n_texts = find_overlaps([suite], [file])
    values = {
        "dense": {"short": 0.2, "plain": 1.0, "long": 0.8, "other": 0.4},
        "lexical": {"short": 0.3, "plain": 0.1, "long": 0.3, "other": 0.5},
    }
    found = clean_scores(overlaps, results(values), n_texts=n_texts)
    dense = found.scores[0]
    assert (dense.everything, dense.untouched, dense.touched) == pytest.approx((0.6, 0.3, 0.9))
    [verdicts] = found.verdicts
    assert verdicts.everything.difference == pytest.approx(0.3)
    assert verdicts.untouched.difference == pytest.approx(-0.1)
    assert verdicts.untouched.wins == 0 and verdicts.untouched.losses == 2
    written = json.loads(json.dumps(clean_json(found)))
    assert written["suites"]["made"]["queries"] == {
        "plain": ["whole text"],
        "long": ["13-gram", "near duplicate"],
    }


def test_a_suite_that_was_seen_whole_has_nothing_left(suite: Suite, tmp_path: Path) -> None:
    """No mean of nothing and no verdict, instead of a number."""
    file = write(tmp_path / "t.jsonl", *DOCUMENTS.values())
    overlaps, n_texts = find_overlaps([suite], [file])
    values = {arm: dict.fromkeys(QUERIES, 0.5) for arm in ("dense", "lexical")}
    found = clean_scores(overlaps, results(values), n_texts=n_texts)
    assert all(row.untouched is None and row.touched == 0.5 for row in found.scores)
    assert found.verdicts[0].untouched is None


def test_results_of_other_queries_are_refused(suite: Suite, tmp_path: Path) -> None:
    """Another split or suite would give means of the wrong queries."""
    overlaps, n = find_overlaps([suite], [write(tmp_path / "t.jsonl", "a b c")])
    other = results({"dense": {"x": 1.0}, "lexical": {"x": 1.0}})
    with pytest.raises(ShapeError, match="only the suite"):
        clean_scores(overlaps, other, n_texts=n)
    with pytest.raises(ConfigError, match="no suite 'made'"):
        clean_scores(overlaps, {"suites": {"b": {}}, "settings": {}}, n_texts=n)


def test_the_command_measures_and_splits(tmp_path: Path) -> None:
    """The answers of one query stand in the training text: it alone is touched in every arm."""
    suite = write_suite(tmp_path / "corpora" / "notes", "code")
    first = json.loads((suite / "corpus.jsonl").read_text().splitlines()[0])["text"]
    train = tmp_path / "train.txt"
    train.write_text(f"{first} {first}")
    command = ("bench", "contamination", "--train", train, suite, "--encoder", "hash:a")
    outcome = run("--home", tmp_path, *command, "--json")
    assert outcome.code == 0, outcome.err
    found = json.loads(outcome.out)
    assert found["suites"]["notes"]["n_touched"] == 1
    assert {row["arm"] for row in found["scores"]} == {"lexical", "dense", "hybrid"}
    assert all(row["untouched"] is not None for row in found["scores"])
    assert "Mean nDCG@10" in run("--home", tmp_path, *command).out
