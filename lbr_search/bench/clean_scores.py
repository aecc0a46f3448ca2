"""Scores of a benchmark with and without the queries that training had seen, and both verdicts."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from rich.console import Group, RenderableType
from rich.markup import escape
from rich.text import Text

from lbr_search.bench.contamination import KINDS, SuiteOverlap
from lbr_search.bench.gate import Results
from lbr_search.bench.report import rich_table, signed
from lbr_search.bench.results import comparison_json
from lbr_search.bench.significance import Comparison, compare_all, refuse_other_queries
from lbr_search.errors import ConfigError

OVERLAP_HEADINGS = ("suite", "queries", "short", "query seen", "answer seen", "touched")
SCORE_HEADINGS = ("suite", "arm", "all", "untouched", "touched", "change")
VERDICT_HEADINGS = ("suite", "arms", "all", "verdict", "untouched", "verdict")


@dataclass(frozen=True, slots=True)
class ArmScores:
    """Mean nDCG@10 of one arm over three sets of queries; None = there are none."""

    suite: str
    arm: str
    everything: float
    untouched: float | None
    touched: float | None


@dataclass(frozen=True, slots=True)
class Verdicts:
    """One comparison over all queries, and over those that were not touched."""

    suite: str
    system: str
    baseline: str
    everything: Comparison
    untouched: Comparison | None
    """None = all queries were touched."""


@dataclass(frozen=True, slots=True)
class CleanScores:
    """What remains of a benchmark's results without what was seen."""

    overlaps: Sequence[SuiteOverlap]
    n_texts: int
    """Training texts that were looked through."""
    scores: Sequence[ArmScores]
    verdicts: Sequence[Verdicts]


def clean_scores(
    overlaps: Sequence[SuiteOverlap], results: Results, *, n_texts: int
) -> CleanScores:
    """Split the scores of every arm by what was seen, and test its comparisons anew.

    Args:
        overlaps: one a suite.
        results: what ``bench --json`` writes, of the same suites and split.
        n_texts: training texts that were looked through.

    Raises:
        ConfigError: the results lack a suite.
        ShapeError: they are of other queries.
    """
    scores: list[ArmScores] = []
    pairs: list[tuple[str, str, str]] = []
    everything, untouched = [], []
    for overlap in overlaps:
        values = _values(overlap, results)
        for arm, found in values.items():
            parts = [_mean(found, overlap.touched, is_touched) for is_touched in (False, True)]
            scores.append(ArmScores(overlap.suite, arm, statistics.fmean(found.values()), *parts))
        for system, baseline in _compared(overlap.suite, results):
            pairs.append((overlap.suite, system, baseline))
            everything.append((values[system], values[baseline]))
            untouched.append(
                tuple(_without(values[arm], overlap.touched) for arm in (system, baseline))
            )
    left = compare_all([(system, baseline) for system, baseline in untouched if system])
    remaining = iter(left)
    verdicts = [
        Verdicts(*pair, found, next(remaining) if system else None)
        for pair, found, (system, _) in zip(pairs, compare_all(everything), untouched, strict=True)
    ]
    return CleanScores(overlaps, n_texts, scores, verdicts)


def clean_report(found: CleanScores) -> RenderableType:
    """Three tables: what was seen, the scores, the verdicts."""
    overlap = rich_table(f"Seen in {found.n_texts:,} training texts", OVERLAP_HEADINGS)
    scores = rich_table("Mean nDCG@10", SCORE_HEADINGS)
    verdicts = rich_table("Differences in nDCG@10", VERDICT_HEADINGS)
    for table, rows in (
        (overlap, _overlap_rows(found)),
        (scores, _score_rows(found)),
        (verdicts, _verdict_rows(found)),
    ):
        for row in rows:
            table.add_row(*map(escape, row))
    note = (
        "Query seen: a run of 13 of its words, or the whole of a shorter one, stands in a training "
        "text, or a training text is nearly the same. Answer seen: the same of a relevant "
        "document. Touched: either. A text shorter than five words counts where a training text is "
        "the same."
    )
    tables = [table for table in (overlap, scores, verdicts) if table.row_count]
    return Group(*tables, Text(note, style="dim"))


def clean_json(found: CleanScores) -> dict[str, Any]:
    """Everything as one object, the touched queries by name and kind."""
    return {
        "n_texts": found.n_texts,
        "suites": {
            o.suite: {
                "n_queries": o.n_queries,
                "n_positives": o.n_positives,
                "n_short": o.n_short,
                "n_touched": len(o.touched),
                "queries": {q: sorted(kinds) for q, kinds in sorted(o.queries.items())},
                "positives": {q: sorted(kinds) for q, kinds in sorted(o.positives.items())},
            }
            for o in found.overlaps
        },
        "scores": [asdict(row) for row in found.scores],
        "comparisons": [
            {
                "suite": row.suite,
                "system": row.system,
                "baseline": row.baseline,
                "all": comparison_json(row.everything),
                "untouched": None if row.untouched is None else comparison_json(row.untouched),
            }
            for row in found.verdicts
        ],
    }


def _values(overlap: SuiteOverlap, results: Results) -> dict[str, Mapping[str, float]]:
    """Arm -> query_id -> value, of the queries that were looked for."""
    suites = results["suites"]
    if overlap.suite not in suites:
        raise ConfigError(
            f"the results hold no suite {overlap.suite!r}; they hold: {', '.join(suites)}.",
            "measure the same suites, or leave --results out",
        )
    values = {arm: found["per_query"] for arm, found in suites[overlap.suite]["arms"].items()}
    for arm, found in values.items():
        names = (f"{overlap.suite}, {arm}: the results", "the suite")
        refuse_other_queries(found, dict.fromkeys(overlap.query_ids, 0.0), names=names)
    return values


def _compared(suite: str, results: Results) -> list[tuple[str, str]]:
    settings = results["settings"].get("suites", {}).get(suite, {})
    return [(row["system"], row["baseline"]) for row in settings.get("comparisons", [])]


def _without(values: Mapping[str, float], touched: set[str]) -> dict[str, float]:
    return {query_id: value for query_id, value in values.items() if query_id not in touched}


def _mean(values: Mapping[str, float], touched: set[str], is_touched: bool) -> float | None:
    found = [value for query_id, value in values.items() if (query_id in touched) == is_touched]
    return statistics.fmean(found) if found else None


def _overlap_rows(found: CleanScores) -> Iterator[list[str]]:
    for o in found.overlaps:
        yield [
            o.suite,
            str(o.n_queries),
            str(o.n_short),
            _counted(o.queries),
            _counted(o.positives),
            f"{len(o.touched)} ({len(o.touched) / o.n_queries:.0%})",
        ]


def _counted(kinds: Mapping[str, set[str]]) -> str:
    """How many queries, and by which kinds."""
    by_kind = {kind: sum(kind in found for found in kinds.values()) for kind in KINDS}
    named = ", ".join(f"{kind} {n}" for kind, n in by_kind.items() if n)
    return f"{len(kinds)} ({named})" if kinds else "0"


def _score_rows(found: CleanScores) -> Iterator[list[str]]:
    for row in found.scores:
        change = "" if row.untouched is None else signed(row.untouched - row.everything)
        yield [row.suite, row.arm, f"{row.everything:.3f}", _shown(row.untouched),
               _shown(row.touched), change]  # fmt: skip


def _verdict_rows(found: CleanScores) -> Iterator[list[str]]:
    for row in found.verdicts:
        cells = [row.suite, f"{row.system} - {row.baseline}"]
        for comparison in (row.everything, row.untouched):
            if comparison is None:
                cells += ["", "nothing left"]
            else:
                cells += [signed(comparison.difference), comparison.verdict]
        yield cells


def _shown(mean: float | None) -> str:
    return "" if mean is None else f"{mean:.3f}"
