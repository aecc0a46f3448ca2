"""Metrics against trec_eval's numbers, against six lines of numpy, and in the corners."""

from __future__ import annotations

import json
import math
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lbr_search.bench.metrics import METRICS, evaluate
from lbr_search.bench.trec_io import ranked, read_qrels, read_run
from lbr_search.errors import ConfigError, CorpusError

GOLDEN = Path(__file__).parent / "golden"


def ndcg_at_10(hits: dict[str, float], judged: dict[str, int]) -> float:
    """nDCG from its definition, independent of any library."""
    gains = [judged.get(doc_id, 0) for doc_id, _ in ranked(hits)[:10]]
    ideal = sorted(judged.values(), reverse=True)[:10]
    dcg, best = (
        sum(gain / math.log2(rank + 1) for rank, gain in enumerate(row, start=1))
        for row in (gains, ideal)
    )
    return dcg / best if best else 0.0


def test_equal_to_trec_eval_on_the_golden_run() -> None:
    """Every metric of every query, and every mean, agrees with trec_eval to four decimals."""
    expected = json.loads((GOLDEN / "trec_eval.json").read_text())
    means = expected.pop("all")
    run, qrels = read_run(GOLDEN / "graded.run"), read_qrels(GOLDEN / "graded.qrels")
    result = evaluate(run, qrels, metrics=tuple(means))
    assert {name: round(value, 4) for name, value in result.means.items()} == means
    assert set(METRICS) - set(means) == {"judged@10"}, "trec_eval has no such measure"
    for name in means:
        rounded = {query_id: round(value, 4) for query_id, value in result.per_query[name].items()}
        assert rounded == {query_id: values[name] for query_id, values in expected.items()}
    assert (result.n_queries, result.n_without_hits, result.n_without_qrels) == (40, 1, 1)
    assert (result.n_without_relevant, result.n_graded) == (1, 37)


def test_scores_that_trec_eval_holds_for_equal_are_ties() -> None:
    """trec_eval keeps 32 bits of a score: the cut at ten must fall where it would make it."""
    import pytrec_eval

    run = {"q": {f"d{n:02}": 0.5 + 1e-12 * (20 - n) for n in range(20)}}  # d00 first in 64 bits
    qrels = {"q": {"d00": 1, "d19": 1}}
    names = {"ndcg_cut_10", "map_cut_100", "P_10"}
    theirs = pytrec_eval.RelevanceEvaluator(qrels, names).evaluate(run)["q"]
    ours = evaluate(run, qrels, metrics=("ap", "p@10", "rr@10")).means
    assert ours["ndcg@10"] == pytest.approx(theirs["ndcg_cut_10"])
    assert ours["p@10"] == theirs["P_10"] == 0.1
    assert ours["ap"] == pytest.approx(theirs["map_cut_100"]) and ours["rr@10"] == 1.0


def test_judged_is_its_definition_on_the_golden_run() -> None:
    """judged@k: of the first k hits, those in the qrels, whatever their relevance."""
    run, qrels = read_run(GOLDEN / "graded.run"), read_qrels(GOLDEN / "graded.qrels")
    result = evaluate(run, qrels, metrics=("judged@5", "judged@10"))
    for query_id, judged in qrels.items():
        first = [doc_id for doc_id, _ in ranked(run.get(query_id, {}))[:10]]
        for k in (5, 10):
            n_hits = len(first[:k])
            share = sum(doc_id in judged for doc_id in first[:k]) / n_hits if n_hits else 0.0
            assert result.per_query[f"judged@{k}"][query_id] == pytest.approx(share)


def test_deep_metrics_read_the_deep_run() -> None:
    """recall@1000 is of the longer ranking, all others of the run itself."""
    run = {"q": {f"d{n}": float(-n) for n in range(100)}}
    deep = {"q": {f"d{n}": float(-n) for n in range(1000)}}
    qrels = {"q": {"d5": 1, "d50": 1, "d500": 1, "none": 1}}
    shallow, deeper = evaluate(run, qrels).means, evaluate(run, qrels, deep_run=deep).means
    assert (shallow["recall@1000"], deeper["recall@1000"]) == (0.5, 0.75)
    assert {k: v for k, v in shallow.items() if k != "recall@1000"} == {
        k: v for k, v in deeper.items() if k != "recall@1000"
    }


def test_unknown_metrics_are_refused() -> None:
    """A name that is no measure, or has no cutoff where it needs one."""
    for name in ("map", "ndcg", "p@0", "recall@5000", "p@", "P@5"):
        with pytest.raises(ConfigError, match=f"no metric '{name}'"):
            evaluate({"q": {"a": 1.0}}, {"q": {"a": 1}}, metrics=(name,))


def test_ten_thousand_queries_of_a_thousand_hits_are_quick() -> None:
    """A tenth of it in a tenth of the ten seconds, of processor time."""
    generator = np.random.default_rng(0)
    run = {
        f"q{n}": dict(zip(map(str, generator.integers(0, 10**6, 1000)), scores, strict=True))
        for n, scores in enumerate(generator.random((1_000, 1_000)).tolist())
    }
    qrels = {query_id: dict.fromkeys(list(hits)[:3], 1) for query_id, hits in run.items()}
    started = time.thread_time()
    evaluate(run, qrels)
    assert time.thread_time() - started < 1.0


def test_ndcg_is_its_definition_on_the_golden_run() -> None:
    """nDCG@10 agrees with the formula written out."""
    run, qrels = read_run(GOLDEN / "graded.run"), read_qrels(GOLDEN / "graded.qrels")
    result = evaluate(run, qrels)
    for query_id, judged in qrels.items():
        expected = ndcg_at_10(run.get(query_id, {}), judged)
        assert result.per_query["ndcg@10"][query_id] == pytest.approx(expected, abs=1e-9)


LOG3 = 1 / math.log2(3)
CASES = {
    "found first": ({"a": 2.0, "b": 1.0}, {"a": 1}, (1, 1, 1, 1)),
    "found second": ({"a": 2.0, "b": 1.0}, {"b": 1}, (LOG3, 1, 1, 0.5)),
    "no hits": ({}, {"a": 1}, (0, 0, 0, 0)),
    "ties put the later id first": ({"a": 1.0, "b": 1.0}, {"a": 1}, (LOG3, 1, 1, 0.5)),
    "judged irrelevant is not found": ({"a": 1.0}, {"a": 0, "b": 1}, (0, 0, 0, 0)),
    "nothing relevant": ({"a": 1.0}, {"a": 0}, (0, 0, 0, 0)),
    "graded: the lesser first": (
        {"a": 2.0, "b": 1.0},
        {"a": 1, "b": 3},
        ((1 + 3 * LOG3) / (3 + LOG3), 1, 1, 1),
    ),
    "half found": ({"a": 1.0}, {"a": 1, "b": 1}, (1 / (1 + LOG3), 0.5, 0.5, 1)),
    "at rank 10": (
        {f"d{n}": float(-n) for n in range(30)},
        {"d9": 1},
        (1 / math.log2(11), 1, 1, 0.1),
    ),
    "at rank 11": ({f"d{n}": float(-n) for n in range(30)}, {"d10": 1}, (0, 0, 1, 0)),
    "at rank 101": ({f"d{n}": float(-n) for n in range(200)}, {"d100": 1}, (0, 0, 0, 0)),
}


@pytest.mark.parametrize("case", CASES)
def test_corner_cases(case: str) -> None:
    """Each corner has the value that its definition gives."""
    hits, judged, expected = CASES[case]
    result = evaluate({"q": hits}, {"q": judged})
    names = ("ndcg@10", "recall@10", "recall@100", "rr@10")
    assert tuple(result.means[name] for name in names) == pytest.approx(expected)


def test_a_query_without_hits_lowers_the_mean() -> None:
    """The mean is over judged queries, not over answered ones."""
    result = evaluate({"q1": {"a": 1.0}}, {"q1": {"a": 1}, "q2": {"a": 1}})
    assert result.means["ndcg@10"] == 0.5
    assert result.per_query["ndcg@10"] == {"q1": 1.0, "q2": 0.0}
    assert result.n_without_hits == 1


def test_an_unjudged_query_is_left_out_and_counted() -> None:
    """Judgements of one query say nothing about another; an empty entry is no judgement."""
    run = {"q1": {"a": 1.0}, "q2": {"a": 1.0}, "q3": {"a": 1.0}}
    result = evaluate(run, {"q1": {"a": 1}, "q3": {}})
    assert result.n_without_qrels == 2
    assert result.n_queries == 1


def test_a_run_of_other_queries_is_refused() -> None:
    """No query in common means the wrong file, not a score of zero."""
    with pytest.raises(CorpusError, match="none of the run's 1 queries is judged"):
        evaluate({"q1": {"a": 1.0}}, {"other": {"a": 1}})
    with pytest.raises(CorpusError, match="no judgements"):
        evaluate({"q1": {"a": 1.0}}, {})


doc_ids = st.sampled_from([f"d{n}" for n in range(15)])


@settings(max_examples=60, deadline=None)
@given(
    hits=st.dictionaries(doc_ids, st.floats(-5, 5, width=16), max_size=15),
    judged=st.dictionaries(doc_ids, st.integers(0, 3), min_size=1, max_size=15),
)
def test_metrics_lie_between_0_and_1_and_recall_grows(
    hits: dict[str, float], judged: dict[str, int]
) -> None:
    """For any run: 0 <= metric <= 1, recall grows, and nDCG and AP are their definitions."""
    means = evaluate({"q": hits}, {"q": judged}).means
    found = [judged.get(doc_id, 0) > 0 for doc_id, _ in ranked(hits)]
    n_relevant = sum(grade > 0 for grade in judged.values())
    precisions = [
        sum(found[: n + 1]) / (n + 1) for n, is_relevant in enumerate(found) if is_relevant
    ]
    assert means["ap"] == pytest.approx(sum(precisions) / max(1, n_relevant))
    assert means["p@10"] == pytest.approx(sum(found[:10]) / 10)
    assert means["success@10"] == float(any(found[:10]))
    assert all(0 <= value <= 1 + 1e-12 for value in means.values())
    assert means["recall@10"] <= means["recall@100"]
    assert means["ndcg@10"] == pytest.approx(ndcg_at_10(hits, judged), abs=1e-9)
