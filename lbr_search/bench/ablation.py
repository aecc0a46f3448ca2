"""Arms of an ablation on the same queries: means, differences to two baselines, one table."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from lbr_search.bench.report import markdown_table, signed
from lbr_search.bench.significance import Comparison, compare, compare_all

Values = Mapping[str, Mapping[str, float]]
"""suite -> query_id -> nDCG@10."""
BASELINES = ("cl", "cpt-cl")
"""What stage 1 has to beat, both, before it may be said to help."""


@dataclass(frozen=True, slots=True)
class Arm:
    """One arm: the values of each seed, and its health as the mean over seeds.

    Attributes:
        health: "effective_rank", and "nll_y" and "nll_y_z" in nats per token.
    """

    name: str
    seeds: Sequence[Values]
    health: Mapping[str, float]

    @property
    def values(self) -> dict[str, dict[str, float]]:
        """Each query's mean over the seeds."""
        first = self.seeds[0]
        return {
            suite: {q: statistics.fmean(seed[suite][q] for seed in self.seeds) for q in found}
            for suite, found in first.items()
        }

    @property
    def suite_means(self) -> dict[str, float]:
        """Suite -> mean over queries and seeds."""
        return suite_means(self.values)

    @property
    def seed_deviation(self) -> float:
        """Standard deviation over seeds of the mean over suites; 0 for one seed."""
        means = [statistics.fmean(suite_means(seed).values()) for seed in self.seeds]
        return statistics.stdev(means) if len(means) > 1 else 0.0


@dataclass(frozen=True, slots=True)
class Difference:
    """An arm against a baseline: over all suites, and over each suite alone."""

    arm: str
    baseline: str
    overall: Comparison
    """p corrected over all arms and baselines."""
    by_suite: Mapping[str, Comparison]

    @property
    def p_holm(self) -> float:
        """Of the comparison over all suites, corrected."""
        return self.overall.p_holm


def suite_means(values: Values) -> dict[str, float]:
    """Suite -> mean over its queries."""
    return {suite: statistics.fmean(found.values()) for suite, found in values.items()}


def differences(arms: Sequence[Arm]) -> list[Difference]:
    """Every arm against every baseline that is there; p corrected over all of them (Holm)."""
    by_name = {arm.name: arm for arm in arms}
    pairs = [
        (arm, by_name[name])
        for name in BASELINES
        if name in by_name
        for arm in arms
        if arm.name != name
    ]
    overall = compare_all([(balanced(a.values), balanced(b.values)) for a, b in pairs])
    return [
        Difference(
            arm.name,
            baseline.name,
            found,
            {s: compare(values, baseline.values[s]) for s, values in arm.values.items()},
        )
        for (arm, baseline), found in zip(pairs, overall, strict=True)
    ]


def balanced(values: Values) -> dict[str, float]:
    """All queries as one list in which every suite counts the same.

    The plain mean of the result is the mean over suites of their means, so that a paired test over
    queries tests just that. Resampling lets the suites' shares vary too: the interval is a little
    wider than one within suites.

    >>> found = balanced({"a": {"q": 1.0}, "b": {"q": 0.0, "r": 0.5, "s": 1.0}})
    >>> sum(found.values()) / len(found)
    0.75
    """
    n_queries = sum(len(found) for found in values.values())
    return {
        f"{suite}/{query}": value * n_queries / (len(values) * len(found))
        for suite, found in values.items()
        for query, value in found.items()
    }


def table(arms: Sequence[Arm]) -> tuple[list[str], list[list[str]]]:
    """Headings and one row an arm."""
    suites = list(arms[0].suite_means)
    against = {(found.arm, found.baseline): found for found in differences(arms)}
    baselines = [name for name in BASELINES if any(arm.name == name for arm in arms)]
    headings = ["arm", *suites, "mean", "SD of seeds"]
    for name in baselines:
        headings += [f"- {name} (95 %)", "p (Holm)"]
    headings += ["effective rank", "nats through Z"]
    rows = []
    for arm in arms:
        means = arm.suite_means
        row = [arm.name, *(f"{means[suite]:.3f}" for suite in suites)]
        row += [f"{statistics.fmean(means.values()):.3f}", f"{arm.seed_deviation:.3f}"]
        for name in baselines:
            row += _against(against.get((arm.name, name)))
        through = arm.health["nll_y"] - arm.health["nll_y_z"]
        rows.append([*row, f"{arm.health['effective_rank']:.0f}", f"{through:.2f}"])
    return headings, rows


def markdown(arms: Sequence[Arm]) -> str:
    """The table as Markdown, with what its columns mean below."""
    headings, rows = table(arms)
    return f"{markdown_table(tuple(headings), rows)}\n\n{note(arms)}\n"


def note(arms: Sequence[Arm]) -> str:
    """What the columns mean."""
    n_queries = {suite: len(found) for suite, found in arms[0].values.items()}
    shown = ", ".join(f"{suite} {n}" for suite, n in n_queries.items())
    return (
        f"nDCG@10 on dev, dense leg, exact search; seeds: {len(arms[0].seeds)}; queries: "
        f"{shown}. Differences of the mean over suites: paired bootstrap over queries; p: paired "
        "randomisation test, Holm-corrected over all differences shown. Nats through Z: NLL(y) "
        "without context minus NLL(y | Z), per token of held-out queries."
    )


def to_json(arms: Sequence[Arm]) -> dict[str, Any]:
    """All numbers, the values of every query included."""
    return {
        "arms": {
            arm.name: {
                "suites": arm.suite_means,
                "mean": statistics.fmean(arm.suite_means.values()),
                "seed_deviation": arm.seed_deviation,
                "seeds": [suite_means(seed) for seed in arm.seeds],
                "health": dict(arm.health),
                "per_query": arm.values,
            }
            for arm in arms
        },
        "differences": [asdict(found) | {"p_holm": found.p_holm} for found in differences(arms)],
    }


def _against(found: Difference | None) -> list[str]:
    if found is None:
        return ["", ""]
    low, high = found.overall.interval
    p = "< .001" if found.p_holm < 0.001 else f"{found.p_holm:.3f}"
    return [f"{signed(found.overall.difference)} ({signed(low)} to {signed(high)})", p]
