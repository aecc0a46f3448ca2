"""Several rankings of the same query -> one score a document. Pure functions of scores.

A leg is a mapping from document to that retriever's raw score, higher is better. Results do not
depend on the order of the legs (given their weights) nor on the order within a mapping.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping, Sequence

from lbr_search.config import BY_LENGTH, SearchConfig
from lbr_search.errors import ShapeError

Scores = Mapping[str, float]
Normaliser = Callable[[Scores], dict[str, float]]
Fusion = Callable[[Sequence[Scores], SearchConfig], dict[str, float]]


def ranks(leg: Scores) -> dict[str, int]:
    """Place of each document in a leg, from 1; the one order of documents.

    Score descending, ties by id descending, as trec_eval does.

    >>> ranks({"a": 0.5, "b": 2.0, "c": 2.0})
    {'c': 1, 'b': 2, 'a': 3}
    """
    # the pairs themselves are sorted: a leg comes nearly in order, and that sort is then one pass
    best_first = sorted(zip(leg.values(), leg, strict=True), reverse=True)
    return {doc_id: place for place, (_, doc_id) in enumerate(best_first, start=1)}


def rrf(legs: Sequence[Scores], *, rrf_k: int) -> dict[str, float]:
    """Reciprocal rank fusion: the sum over legs of 1 / (rrf_k + rank).

    Source: Cormack, Clarke and Buettcher, SIGIR 2009, sec. 2 (there k = 60). A document that a
    leg did not return gets nothing from it.

    Args:
        legs: one mapping a retriever, document -> raw score; only the order counts.
        rrf_k: > 0, in ranks; larger values flatten the head of each ranking.

    Returns:
        Document -> score in (0, len(legs) / (rrf_k + 1)], for every document of any leg.

    >>> rrf([{"a": 9.0, "b": 1.0}, {"b": 0.3}], rrf_k=1) == {"a": 1 / 2, "b": 1 / 3 + 1 / 2}
    True
    """
    places = [ranks(leg) for leg in legs]
    return {
        doc_id: math.fsum(1.0 / (rrf_k + place[doc_id]) for place in places if doc_id in place)
        for doc_id in _union(legs)
    }


def convex(
    legs: Sequence[Scores], *, weights: Sequence[float], normalise: Normaliser | None = None
) -> dict[str, float]:
    """Weighted sum of each leg's normalised scores.

    Source: Bruch, Gai and Ingber, "An Analysis of Fusion Functions for Hybrid Retrieval", TOIS
    2023, arXiv:2210.11934, eq. 3. A document that a leg did not return gets 0 from it.

    Args:
        legs: one mapping a retriever, document -> raw score.
        weights: one a leg, >= 0.
        normalise: brings a leg's scores to a common scale, >= 0; None = `min_max`.

    Returns:
        Document -> score >= 0, for every document of any leg; at most the sum of the weights
        where no normalised score is above 1.

    Raises:
        ShapeError: not one weight a leg.

    >>> convex([{"a": 3.0, "b": 1.0}, {"b": 7.0}], weights=[0.5, 0.5])
    {'a': 0.5, 'b': 0.5}
    """
    if len(weights) != len(legs):
        raise ShapeError(
            f"{len(legs)} legs but {len(weights)} weights.", "give one weight to each leg"
        )
    normalised = [(normalise or min_max)(leg) for leg in legs]
    if len(legs) == 2:  # the usual case; a sum of two is the same either way round
        (first, second), (one, two) = normalised, weights
        fused = {doc_id: one * score for doc_id, score in first.items()}
        for doc_id, score in second.items():
            fused[doc_id] = fused.get(doc_id, 0.0) + two * score
        return fused
    return {
        doc_id: math.fsum(
            weight * leg.get(doc_id, 0.0) for weight, leg in zip(weights, normalised, strict=True)
        )
        for doc_id in _union(legs)
    }


def min_max(leg: Scores) -> dict[str, float]:
    """Scale a leg's scores to [0, 1]; equal scores all become 1.

    The 1: being found still counts against not being found, which gives 0.

    >>> min_max({"a": 2.0, "b": 4.0, "c": 3.0}), min_max({"a": -5.0})
    ({'a': 0.0, 'b': 1.0, 'c': 0.5}, {'a': 1.0})
    """
    if not leg:
        return {}
    low, high = min(leg.values()), max(leg.values())
    if high == low:
        return dict.fromkeys(leg, 1.0)
    return {doc_id: (score - low) / (high - low) for doc_id, score in leg.items()}


def z_scores(leg: Scores) -> dict[str, float]:
    """How many standard deviations each score lies above the leg's lowest; equal scores give 1.

    The z score of a document is its distance from the leg's mean in such units (Lee, SIGIR 1997,
    compares normalisations). Here all are moved up by the same amount, which changes no order, so
    that the lowest is 0: what a leg did not return stands beside its last document.

    >>> z_scores({"a": 1.0, "b": 5.0, "c": 3.0, "d": 3.0})["b"] == 4 / 2**0.5
    True
    """
    _, deviation = _moments(leg)
    if deviation == 0:
        return dict.fromkeys(leg, 1.0)
    low = min(leg.values())
    return {doc_id: (score - low) / deviation for doc_id, score in leg.items()}


def by_distribution(leg: Scores) -> dict[str, float]:
    """Scale scores so that the leg's mean - 3 sd is 0 and its mean + 3 sd is 1, and clip there.

    Unlike `min_max` one outlier does not push all others together. Source: distribution-based
    score fusion, Mazzeschi 2023 (as in Qdrant). Equal scores are their mean: 0.5.

    >>> by_distribution({"a": 7.0})
    {'a': 0.5}
    """
    mean, deviation = _moments(leg)
    if deviation == 0:
        return dict.fromkeys(leg, 0.5)
    return {
        doc_id: min(1.0, max(0.0, 0.5 + (score - mean) / (6 * deviation)))
        for doc_id, score in leg.items()
    }


def _moments(leg: Scores) -> tuple[float, float]:
    """Mean and standard deviation of a leg's scores, (0, 0) of none.

    Sums are exact, so the order of the entries changes nothing; a deviation that is rounding
    beside the scores counts as 0.
    """
    if not leg:
        return 0.0, 0.0
    mean = math.fsum(leg.values()) / len(leg)
    deviation = math.sqrt(math.fsum((score - mean) ** 2 for score in leg.values()) / len(leg))
    largest = max(abs(score) for score in leg.values())
    return mean, deviation if deviation > 1e-9 * largest else 0.0


def _union(legs: Sequence[Scores]) -> dict[str, None]:
    """Every document of any leg, once; who ranks by the scores sorts them (`ranks`)."""
    return dict.fromkeys(itertools.chain.from_iterable(legs))


def _convex_with(normalise: Normaliser) -> Fusion:
    def fused(legs: Sequence[Scores], config: SearchConfig) -> dict[str, float]:
        # without an index there is no length to go by, and the legs count alike
        weight = 0.5 if config.dense_weight == BY_LENGTH else config.dense_weight
        # the searcher passes the dense leg first, then the lexical one
        return convex(legs, weights=(weight, 1.0 - weight), normalise=normalise)

    return fused


FUSIONS: dict[str, Fusion] = {
    "rrf": lambda legs, config: rrf(legs, rrf_k=config.rrf_k),
    "convex": _convex_with(min_max),
    "zscore": _convex_with(z_scores),
    "dbsf": _convex_with(by_distribution),
}
