"""Which arms of a benchmark are compared with which, and all of it tested as one family."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from lbr_search.bench.results import SuiteResult
from lbr_search.bench.significance import compare_all
from lbr_search.errors import ConfigError

COMPARED = "ndcg@10"
"""The metric that differences are tested in."""


def compare_suites(suites: Mapping[str, SuiteResult], *, against: str | None = None) -> None:
    """Fill in the comparisons of every suite; p corrected over all suites and arms together.

    Args:
        suites: with all their arms.
        against: the arm that every other one is compared with; None = `planned_pairs`.

    Raises:
        ConfigError: no suite has an arm of that name.
        ShapeError: two arms of a suite were not measured on the same queries.
    """
    pairs = {
        (name, *pair): tuple(suite.arms[arm].evaluation.per_query[COMPARED] for arm in pair)
        for name, suite in suites.items()
        for pair in pairs_of(suite.arms, against=against)
    }
    if against is not None and not any(against in suite.arms for suite in suites.values()):
        known = dict.fromkeys(arm for suite in suites.values() for arm in suite.arms)
        raise ConfigError(
            f"no arm is called {against!r}; the arms: {', '.join(known)}.",
            "give one of them to --against",
        )
    found = compare_all([(system, baseline) for system, baseline in pairs.values()])
    for (name, system, baseline), comparison in zip(pairs, found, strict=True):
        suites[name].comparisons[system, baseline] = comparison


def pairs_of(arms: Iterable[str], *, against: str | None) -> list[tuple[str, str]]:
    """(system, baseline) pairs of some arms, each pair once."""
    names = list(arms)
    if against is None:
        return planned_pairs(names)
    return [(arm, against) for arm in names if against in names and arm != against]


def planned_pairs(arms: Iterable[str]) -> list[tuple[str, str]]:
    """What a benchmark asks: each question once, for fewer comparisons have more power.

    Hybrid against lexical, reranked against not, and the default encoder against each peer in the
    same mode.

    >>> planned_pairs(["lexical", "dense", "hybrid", "st:e5:hybrid", "hybrid+maxsim"])
    ... # doctest: +NORMALIZE_WHITESPACE
    [('hybrid', 'lexical'), ('st:e5:hybrid', 'lexical'), ('hybrid', 'st:e5:hybrid'),
     ('hybrid+maxsim', 'hybrid')]
    """
    names = list(arms)
    pairs = []
    for arm in names:
        first_stage, is_reranked, _ = arm.partition("+")
        encoder, _, mode = arm.rpartition(":")
        if is_reranked:
            pairs.append((arm, first_stage))
            continue
        if mode == "hybrid":
            pairs.append((arm, "lexical"))
        if encoder:
            pairs.append((mode, arm))
    return [pair for pair in pairs if pair[0] in names and pair[1] in names]
