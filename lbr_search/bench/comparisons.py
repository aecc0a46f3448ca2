"""Which arms of a benchmark are compared with which, and all of it tested as one family."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

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
        for pair in pairs_of(suite, against=against)
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


def pairs_of(suite: SuiteResult, *, against: str | None) -> list[tuple[str, str]]:
    """(system, baseline) pairs of a suite's arms, each pair once."""
    if against is not None:
        return [(arm, against) for arm in suite.arms if against in suite.arms and arm != against]
    imported = [name for name, arm in suite.arms.items() if arm.cost is None]
    peers = {name: arm.beside for name, arm in suite.arms.items() if arm.beside}
    ours = [name for name in suite.arms if name not in imported and name not in peers]
    return planned_pairs(ours, imported, peers)


def planned_pairs(
    arms: Sequence[str], imported: Sequence[str] = (), peers: Mapping[str, str] | None = None
) -> list[tuple[str, str]]:
    """What a benchmark asks: each question once, for fewer comparisons have more power.

    Hybrid against lexical, reranked against not, the default encoder against each peer in the same
    mode, each other engine (`peers`: arm -> mode of ours) with that mode of ours, and our hybrid
    (or what there is instead of it) against each imported run. Imported runs alone are compared
    with the first of them.

    >>> planned_pairs(["lexical", "dense", "hybrid", "st:e5:hybrid", "hybrid+maxsim"], ["splade"])
    ... # doctest: +NORMALIZE_WHITESPACE
    [('hybrid', 'lexical'), ('st:e5:hybrid', 'lexical'), ('hybrid', 'st:e5:hybrid'),
     ('hybrid+maxsim', 'hybrid'), ('hybrid', 'splade')]
    """
    pairs = []
    for arm in arms:
        first_stage = next((other for other in arms if arm.startswith(f"{other}+")), None)
        encoder, _, mode = arm.rpartition(":")
        if first_stage is not None:
            pairs.append((arm, first_stage))
            continue
        if mode == "hybrid":
            pairs.append((arm, "lexical"))
        if encoder:
            pairs.append((mode, arm))
    pairs = [pair for pair in pairs if pair[0] in arms and pair[1] in arms]
    ours = next((mode for mode in ("hybrid", "dense", "lexical", *arms) if mode in arms), None)
    others = {name: mode if mode in arms else ours for name, mode in (peers or {}).items()}
    others |= dict.fromkeys(imported, ours)
    if ours is None:
        names = list(others)
        return [(system, names[0]) for system in names[1:]]
    return [*pairs, *((own, system) for system, own in others.items() if own is not None)]
