"""Plots of a benchmark: quality against latency, and differences with their intervals."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import cycle
from typing import Any

from lbr_search.bench.comparisons import COMPARED
from lbr_search.bench.results import SuiteResult
from lbr_search.drawing import COLOURS, MARKERS, draw_svg

Point = tuple[str, float, float]
"""Name, cost (lower is better), quality (higher is better)."""


def pareto_front(points: Sequence[Point]) -> list[Point]:
    """The points that no other one beats in both respects, cheapest first.

    >>> [name for name, *_ in pareto_front([("a", 1, 0.5), ("b", 2, 0.4), ("c", 3, 0.6)])]
    ['a', 'c']
    """
    front: list[Point] = []
    for point in sorted(points, key=lambda p: (p[1], -p[2])):
        if not front or point[2] > front[-1][2]:
            front.append(point)
    return front


def arm_points(suite: SuiteResult) -> list[Point]:
    """Arm, p50 in ms, nDCG@10; imported arms have no latency and are left out."""
    return [
        (name, arm.cost.latency.p50, arm.evaluation.means[COMPARED])
        for name, arm in suite.arms.items()
        if arm.cost is not None
    ]


def pareto_plot(suite: SuiteResult, *, key: str) -> str:
    """Quality against latency of every arm of a suite, with the front, as ``<svg>``."""
    points = arm_points(suite)
    front = pareto_front(points)

    def fill(axes: Any) -> None:  # noqa: ANN401 - Axes
        axes.step(
            [cost for _, cost, _ in front],
            [quality for _, _, quality in front],
            where="post",
            color="#777777",
            linewidth=1,
            linestyle="--",
            label="front",
        )
        looks = zip(points, cycle(COLOURS), cycle(MARKERS), strict=False)
        for (name, cost, quality), colour, marker in looks:
            axes.plot([cost], [quality], marker, color=colour, markersize=8, label=name)
        axes.set_xscale("log")
        axes.set_xlabel("latency, p50, ms (log scale)")
        axes.set_ylabel("nDCG@10")
        axes.margins(0.15)
        axes.legend(frameon=False, loc="center left", bbox_to_anchor=(1, 0.5))

    return draw_svg(fill, key=key)


def difference_plot(suite: SuiteResult, *, key: str) -> str:
    """Every difference of a suite with its interval, and what could have been shown."""
    rows = list(suite.comparisons.items())

    def fill(axes: Any) -> None:  # noqa: ANN401 - Axes
        for place, (_, found) in enumerate(rows):
            low, high = found.interval
            colour = COLOURS[0] if found.is_shown else "#777777"
            marker = "o" if found.is_shown else "s"
            axes.plot([low, high], [place, place], "-", color=colour, linewidth=2)
            axes.plot(
                [found.difference],
                [place],
                marker,
                color=colour,
                markerfacecolor=colour if found.is_shown else "white",
            )
            if found.smallest_shown is not None:
                ends = [-found.smallest_shown, found.smallest_shown]
                axes.plot(ends, [place, place], "|", color=COLOURS[5], markersize=14)
        axes.axvline(0, color="black", linewidth=0.8)
        names = [f"{system}\n- {baseline}" for (system, baseline), _ in rows]
        axes.set_yticks(range(len(rows)), names)
        axes.invert_yaxis()
        axes.margins(y=0.2)
        axes.set_xlabel("difference in nDCG@10")

    return draw_svg(fill, key=key, size_inches=(8, 1.2 + 0.55 * len(rows)))
