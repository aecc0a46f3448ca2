"""Many suites on half a page of Markdown: a row a suite, a column an arm or a comparison."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

from lbr_search.bench.comparisons import COMPARED
from lbr_search.bench.report import (
    ENERGY_HEADING,
    best_value,
    has_energy,
    markdown_table,
    provenance,
    signed,
)
from lbr_search.bench.results import BenchResult, Cost
from lbr_search.bench.significance import ALPHA, Comparison

COST_COLUMNS = ("arm", "documents/s", "queries/s", "p50 ms", "p95 ms", "index B/doc", "peak MB")
_NOTE = (
    "Differences in nDCG@10, paired randomisation test over queries, p corrected (Holm) for {n} "
    "comparisons. Bold: shown (p < {alpha:.2f}). Else, in brackets, the smallest difference that "
    "the suite would have shown in 80 % of cases: a smaller one may be there."
)


def summary_report(result: BenchResult) -> str:
    """Quality, differences and costs, then what the numbers depend on."""
    parts = ["nDCG@10, the best of each suite in bold:", _quality(result)]
    n_compared = sum(len(suite.comparisons) for suite in result.suites.values())
    if n_compared:
        parts += [_NOTE.format(n=n_compared, alpha=ALPHA), _differences(result)]
    costs = _costs(result)
    if costs:
        columns = (*COST_COLUMNS, ENERGY_HEADING) if has_energy(result) else COST_COLUMNS
        parts += [
            "Cost, median over suites (peak memory: the largest):",
            markdown_table(columns, costs, n_left=1),
        ]
    parts.append(provenance(result))
    if result.warnings:
        listed = "\n".join(f"- {warning}" for warning in result.warnings)
        head = f"<summary>{len(result.warnings)} things to know of the suites</summary>"
        parts.append(f"<details>{head}\n\n{listed}\n\n</details>")
    return "\n\n".join(parts) + "\n"


def means_line(result: BenchResult) -> str:
    """The mean of each arm that every suite has, in a sentence for a list of changes."""
    arms = list(dict.fromkeys(arm for suite in result.suites.values() for arm in suite.arms))
    means = zip(arms, _means(result, arms), strict=True)
    listed = ", ".join(f"{name} {mean}" for name, mean in means if mean)
    n_queries = sum(suite.n_queries for suite in result.suites.values())
    split, n_suites = result.settings["split"], len(result.suites)
    return (
        f"- nDCG@10, mean over {n_suites} suites (split {split}, {n_queries:,} queries): {listed}."
    )


def difference_cell(found: Comparison | None) -> str:
    """A comparison in a few characters."""
    if found is None:
        return ""
    if found.is_shown:
        return f"**{signed(found.difference)}**"
    least = "none" if found.smallest_shown is None else f"{found.smallest_shown:.3f}"
    return f"{signed(found.difference)} ({least})"


def _quality(result: BenchResult) -> str:
    arms = list(dict.fromkeys(arm for suite in result.suites.values() for arm in suite.arms))
    rows = []
    for suite in result.suites.values():
        best, cells = best_value(suite), []
        for name in arms:
            arm = suite.arms.get(name)
            mean = "" if arm is None else f"{arm.evaluation.means[COMPARED]:.3f}"
            cells.append(f"**{mean}**" if mean and mean == best else mean)
        rows.append([suite.label, str(suite.n_queries), *cells])
    if len(rows) > 1:
        rows.append(["mean", "", *_means(result, arms)])
    return markdown_table(("suite", "queries", *arms), rows, n_left=1)


def _means(result: BenchResult, arms: Sequence[str]) -> list[str]:
    """Of the arms that every suite has; an arm that lacks one has no comparable mean."""
    cells = []
    for name in arms:
        found = [s.arms[name].evaluation.means[COMPARED] for s in result.suites.values()
                 if name in s.arms]  # fmt: skip
        is_whole = len(found) == len(result.suites)
        cells.append(f"{statistics.fmean(found):.3f}" if is_whole else "")
    return cells


def _differences(result: BenchResult) -> str:
    pairs = list(dict.fromkeys(pair for s in result.suites.values() for pair in s.comparisons))
    rows = [
        [suite.label, *(difference_cell(suite.comparisons.get(pair)) for pair in pairs)]
        for suite in result.suites.values()
    ]
    names = [f"{system} - {baseline}" for system, baseline in pairs]
    return markdown_table(("suite", *names), rows, n_left=1)


def _costs(result: BenchResult) -> list[list[str]]:
    found: dict[str, list[tuple[Cost, int]]] = {}
    for suite in result.suites.values():
        for name, arm in suite.arms.items():
            if arm.cost is not None:
                found.setdefault(name, []).append((arm.cost, arm.evaluation.n_queries))
    rows = []
    for name, costs in found.items():
        used = [cost.gpu_joules / n for cost, n in costs if cost.gpu_joules is not None]
        energy = [f"{statistics.median(used):.3g}" if used else ""] if has_energy(result) else []
        peaks = [cost.peak_rss_mb for cost, _ in costs if cost.peak_rss_mb is not None]
        rows.append(
            [
                name,
                f"{statistics.median(cost.documents_per_s for cost, _ in costs):,.0f}",
                f"{statistics.median(n / cost.seconds for cost, n in costs):,.0f}",
                f"{statistics.median(cost.latency.p50 for cost, _ in costs):.1f}",
                f"{statistics.median(cost.latency.p95 for cost, _ in costs):.1f}",
                f"{statistics.median(cost.bytes_per_document for cost, _ in costs):,.0f}",
                f"{max(peaks):,.0f}" if peaks else "",
                *energy,
            ]
        )
    return rows
