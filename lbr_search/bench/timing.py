"""Times of ways that are compared: in turn, so that what else the machine does meets all alike."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence


def in_turn(
    first: Callable[[], object], second: Callable[[], object], *, repeats: int
) -> tuple[list[float], list[float]]:
    """Seconds of two calls, A B A B; each runs once before, unmeasured."""
    first(), second()
    seconds: tuple[list[float], list[float]] = ([], [])
    for _ in range(repeats):
        for call, taken in zip((first, second), seconds, strict=True):
            started = time.perf_counter()
            call()
            taken.append(time.perf_counter() - started)
    return seconds


def each_query(
    steps: dict[str, Callable[[str], object]], queries: Sequence[str]
) -> dict[str, list[float]]:
    """Milliseconds of every step for every query, steps in turn, after one query that warms up."""
    taken: dict[str, list[float]] = {name: [] for name in steps}
    for number, query in enumerate([queries[0], *queries]):
        for name, step in steps.items():
            started = time.perf_counter()
            step(query)
            if number:
                taken[name].append(1e3 * (time.perf_counter() - started))
    return taken


def spread(values: Sequence[float]) -> dict[str, float]:
    """Median and range."""
    return {"median": statistics.median(values), "min": min(values), "max": max(values)}
