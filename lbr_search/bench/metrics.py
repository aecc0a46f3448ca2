"""What a run is worth: nDCG@10, recall, RR, AP, precision, success and judged, by ir-measures."""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from lbr_search.bench.trec_io import held_scores, ranked
from lbr_search.errors import ConfigError, CorpusError
from lbr_search.types import Qrels, Run

if TYPE_CHECKING:
    from ir_measures.measures import Measure

METRICS = (
    "ndcg@10",
    "recall@10",
    "recall@100",
    "recall@1000",
    "rr@10",
    "ap",
    "p@10",
    "success@10",
    "judged@10",
)
"""Keys of the results; nDCG@10 comes first everywhere."""
DEPTH = 100
"""Hits a query of a run; what every metric but those of `DEEP` is measured on."""
DEEP_DEPTH = 1000
"""Hits a query that metrics with a larger cutoff than `DEPTH` need."""
_FAMILIES = {
    "ndcg": "nDCG",
    "recall": "R",
    "rr": "RR",
    "ap": "AP",
    "p": "P",
    "success": "Success",
    "judged": "Judged",
}
"""Our name -> the measure in ir_measures."""
_FORM = re.compile(r"(?P<family>[a-z]+)(?:@(?P<cutoff>[1-9][0-9]{0,3}))?")


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
    n_without_relevant: int = 0
    """Judged queries of which no document is relevant; they count 0."""
    n_graded: int = 0
    """Judged queries with a relevance above 1."""

    @property
    def n_queries(self) -> int:
        """Judged queries; the divisor of every mean."""
        return len(self.per_query[METRICS[0]])


def evaluate(
    run: Run, qrels: Qrels, *, deep_run: Run | None = None, metrics: Sequence[str] = METRICS
) -> Evaluation:
    """Measure a run as trec_eval does, over every judged query.

    A judged query without hits or without relevant documents counts 0 (``trec_eval -c``); a query
    without judgements is left out; all are counted. Hits whose scores are equal in 32 bits are
    ordered by document id, descending. nDCG: gains are the relevance values, discounts log2
    (Järvelin and Kekäläinen 2002, as in trec_eval's ndcg_cut). RR@k reads the first k hits
    in trec_eval's order (``-M k``). judged@k: the share of the first k hits that somebody judged.

    Args:
        run: query_id -> doc_id -> score, higher is better.
        qrels: query_id -> doc_id -> relevance; relevant means above 0.
        deep_run: more hits of the same system, for cutoffs beyond `DEPTH`; None = `run`.
        metrics: names as in `METRICS`; nDCG@10 is always measured.

    Raises:
        CorpusError: there are no judgements, or none of the run's queries is judged.
        ConfigError: a metric is not known.
    """
    names = tuple(dict.fromkeys((METRICS[0], *metrics)))
    measures = {name: parse_metric(name) for name in names}
    judged = {query_id: found for query_id, found in qrels.items() if found}
    known = {query_id: hits for query_id, hits in run.items() if hits and query_id in judged}
    _refuse_strangers(run, judged)
    values: dict[str, dict[str, float]] = {name: dict.fromkeys(judged, 0.0) for name in names}
    for cut, group in _groups(names, has_deep_run=deep_run is not None).items():
        if cut > DEPTH and deep_run is not None:
            system = {query: deep_run[query] for query in known}
        elif cut:
            system = _first(known, cut)
        else:
            system = known
        _measure({measures[name][0]: name for name in group}, judged, system, values)
    return Evaluation(
        means={name: sum(found.values()) / len(found) for name, found in values.items()},
        per_query=values,
        n_without_hits=sum(not known.get(query_id) for query_id in judged),
        n_without_qrels=len(run.keys() - judged.keys()),
        n_without_relevant=sum(max(found.values()) <= 0 for found in judged.values()),
        n_graded=sum(max(found.values()) > 1 for found in judged.values()),
    )


def parse_metric(name: str) -> tuple[Measure, int]:
    """The measure that `name` means, and its cutoff; 0 = none.

    Raises:
        ConfigError: there is no such measure, or it needs a cutoff.

    >>> parse_metric("p@5")
    (P@5, 5)
    """
    import ir_measures

    parts = _FORM.fullmatch(name)
    family = parts["family"] if parts else ""
    cutoff = int(parts["cutoff"] or 0) if parts else 0
    if family not in _FAMILIES or (not cutoff and family != "ap") or cutoff > DEEP_DEPTH:
        raise ConfigError(
            f"there is no metric {name!r}; known: {', '.join(_FAMILIES)}, each with @k for the "
            f"first k hits, 1 to {DEEP_DEPTH} (ap also without).",
            "write it as in ndcg@10, p@5 or success@1",
        )
    measure: Any = getattr(ir_measures, _FAMILIES[family])
    if family == "rr":
        return measure, cutoff  # of a run cut at k: ir-measures' own RR@k breaks ties otherwise
    return (measure @ cutoff if cutoff else measure), cutoff


def _groups(names: Sequence[str], *, has_deep_run: bool) -> dict[int, list[str]]:
    """Cut of a run -> the metrics measured on it; 0 = all of its hits, in one call.

    Reading a run of 1,000 hits a query takes far longer than measuring it, so what needs only the
    first hits is given only these.
    """
    groups: dict[int, list[str]] = {}
    for name in names:
        family, _, cutoff = name.partition("@")
        cut = int(cutoff or 0)
        is_apart = 0 < cut <= 20 or family in {"rr", "judged"} or (has_deep_run and cut > DEPTH)
        groups.setdefault(cut if is_apart else 0, []).append(name)
    return groups


def _first(run: Run, k: int) -> Run:
    """The first k hits of every query in trec_eval's order."""
    return {query_id: _first_hits(hits, k) for query_id, hits in run.items()}


def _first_hits(hits: dict[str, float], k: int) -> dict[str, float]:
    if len(hits) > k:
        # sorting all hits would take longer than measuring them
        scores = held_scores(hits)
        reach = (scores >= np.partition(scores, -k)[-k]).tolist()
        hits = dict(itertools.compress(hits.items(), reach))
    return dict(ranked(hits)[:k])


def _measure(
    measures: Mapping[Measure, str],
    judged: Qrels,
    system: Run,
    values: dict[str, dict[str, float]],
) -> None:
    import ir_measures

    for metric in ir_measures.iter_calc(list(measures), judged, system):
        values[measures[metric.measure]][metric.query_id] = float(metric.value)


def _refuse_strangers(run: Run, judged: Qrels) -> None:
    if not judged:
        raise CorpusError("there are no judgements to measure with.", "give qrels with lines in it")
    if run and not run.keys() & judged.keys():
        raise CorpusError(
            f"none of the run's {len(run)} queries is judged; "
            f"the run has {next(iter(run))!r}, the qrels have {next(iter(judged))!r}.",
            "give the qrels of the queries that were searched",
        )
