"""Curves over steps as SVG inside a page, in colours that colour-blind eyes tell apart."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import cycle
from typing import Any

from lbr_search.drawing import COLOURS, DASHES, draw_svg

SMOOTH_FROM = 200
"""Points from which on a curve is drawn as running means besides its pale self."""


@dataclass(frozen=True, slots=True)
class Curve:
    """A value over steps; what is not finite is left out."""

    name: str
    steps: Sequence[float]
    values: Sequence[float]


def draw(curves: Sequence[Curve], *, title: str, key: str) -> str:
    """One plot as an `<svg>` element.

    Args:
        curves: drawn in this order.
        title: of the vertical axis.
        key: put before every id, so that several plots can share a page.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """

    def fill(axes: Any) -> None:  # noqa: ANN401 - Axes
        from matplotlib.ticker import MaxNLocator

        for curve, colour, dash in zip(curves, cycle(COLOURS), cycle(DASHES), strict=False):
            _add(axes, curve, colour, dash)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.set_xlabel("step")
        axes.set_ylabel(title)
        axes.legend(frameon=False, loc="center left", bbox_to_anchor=(1, 0.5))

    return draw_svg(fill, key=key)


def _add(axes: Any, curve: Curve, colour: str, dash: str) -> None:  # noqa: ANN401 - Axes
    points = [
        (step, value)
        for step, value in zip(curve.steps, curve.values, strict=True)
        if math.isfinite(value)
    ]
    steps, values = [step for step, _ in points], [value for _, value in points]
    if len(points) < SMOOTH_FROM:
        marker = "o" if len(points) < SMOOTH_FROM // 10 else ""  # one point alone is no line
        axes.plot(steps, values, dash, color=colour, marker=marker, label=curve.name)
        return
    axes.plot(steps, values, color=colour, alpha=0.2, linewidth=0.8)
    axes.plot(steps, running_mean(values), dash, color=colour, label=curve.name)


def running_mean(values: Sequence[float], *, share: float = 0.05) -> list[float]:
    """Mean of the newest values, a twentieth of all, at each place; fewer at the beginning.

    >>> running_mean([1.0, 3.0, 5.0, 7.0], share=0.5)
    [1.0, 2.0, 4.0, 6.0]
    """
    width = max(1, round(len(values) * share))
    means, total = [], 0.0
    for place, value in enumerate(values):
        total += value - (values[place - width] if place >= width else 0.0)
        means.append(total / min(place + 1, width))
    return means
