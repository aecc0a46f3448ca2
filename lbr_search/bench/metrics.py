"""What a run is worth: nDCG@10, recall@10, recall@100 and RR@10, computed by ir-measures."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from lbr_search.bench.trec_io import ranked
from lbr_search.errors import CorpusError
from lbr_search.types import Qrels, Run

METRICS = ("ndcg@10", "recall@10", "recall@100", "rr@10")
"""Keys of the results, in the order of tables."""
DEPTH = 100
"""Hits a query that a run needs so that every metric is defined."""


@dataclass(frozen=True, slots=True)
class Evaluation:
    """One run measured against one set of judgements."""

    means: Mapping[str, float]
    """Metric -> mean over `per_query`, 0 to 1."""
    per_query: Mapping[str, Mapping[str, float]]
    """Metric -> query_id -> value, in the order of the qrels."""
    n_without_hits: int
    """Judged queries for which the run has nothing; they count 0."""
    n_without_qrels: int
    """Queries of the run that nobody judged; they are left out."""

    @property
    def n_queries(self) -> int:
        """Judged queries; the divisor of every mean."""
        return len(self.per_query[METRICS[0]])


def evaluate(run: Run, qrels: Qrels) -> Evaluation:
    """Measure a run as trec_eval does, over every judged query.

    A judged query without hits counts 0 (``trec_eval -c``); a query without judgements is left out
    and counted. Gains are the relevance values, discounts log2 (Järvelin and Kekäläinen 2002, as in
    trec_eval's ndcg_cut). RR@10 reads the first ten hits in trec_eval's order (``-M 10``).

    Args:
        run: query_id -> doc_id -> score, higher is better.
        qrels: query_id -> doc_id -> relevance.

    Raises:
        CorpusError: there are no judgements, or none of the run's queries is judged.
    """
    import ir_measures
    from ir_measures import RR, R, nDCG

    judged = {query_id: found for query_id, found in qrels.items() if found}
    known = {query_id: hits for query_id, hits in run.items() if query_id in judged}
    if not judged:
        raise CorpusError("there are no judgements to measure with.", "give qrels with lines in it")
    if run and not known:
        raise CorpusError(
            f"none of the run's {len(run)} queries is judged; "
            f"the run has {next(iter(run))!r}, the qrels have {next(iter(judged))!r}.",
            "give the qrels of the queries that were searched",
        )
    # ir-measures gives RR@10 to a script that breaks ties the other way; RR over ten hits does not
    first_ten = {query_id: dict(ranked(hits)[:10]) for query_id, hits in known.items()}
    values: dict[str, dict[str, float]] = {name: dict.fromkeys(judged, 0.0) for name in METRICS}
    for names, system in (
        ({nDCG @ 10: "ndcg@10", R @ 10: "recall@10", R @ 100: "recall@100"}, known),
        ({RR: "rr@10"}, first_ten),
    ):
        for metric in ir_measures.iter_calc(list(names), judged, system):
            values[names[metric.measure]][metric.query_id] = float(metric.value)
    return Evaluation(
        means={name: sum(found.values()) / len(found) for name, found in values.items()},
        per_query=values,
        n_without_hits=sum(not known.get(query_id) for query_id in judged),
        n_without_qrels=len(run) - len(known),
    )
