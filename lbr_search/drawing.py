"""Plots as SVG elements inside a page: no file beside it, and colours that most eyes tell apart."""

from __future__ import annotations

import importlib.util
import io
import re
from collections.abc import Callable
from typing import Any

from lbr_search.errors import MissingExtraError

COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#000000")
"""Source: Okabe and Ito 2008, "Color Universal Design". Black and a dark blue read in grey, too."""
DASHES = ("-", "--", ":", "-.")
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
"""So that no curve and no point is told by its colour alone."""


def require_matplotlib() -> None:
    """Refuse to begin work whose plots could not be drawn.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    if importlib.util.find_spec("matplotlib") is None:
        raise MissingExtraError(
            "drawing plots needs the package 'matplotlib', which is not installed.",
            'pip install "lbr-search[plots]"',
        )


def draw_svg(
    fill: Callable[[Any], None], *, key: str, size_inches: tuple[float, float] = (8, 3.2)
) -> str:
    """One plot as an ``<svg>`` element.

    Args:
        fill: draws into the matplotlib axes that it is given.
        key: put before every id, so that several plots can share a page.
        size_inches: width and height.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    require_matplotlib()
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    # text as text: small, searchable, in the reader's own font; the salt makes ids repeatable
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": key, "font.family": "sans-serif"}):
        figure = Figure(figsize=size_inches, layout="constrained")
        axes = figure.subplots()
        fill(axes)
        axes.grid(visible=True, alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)
        file = io.StringIO()
        nothing = dict.fromkeys(("Creator", "Date", "Format", "Type"))
        figure.savefig(file, format="svg", metadata=nothing)
    return _embeddable(file.getvalue(), key)


def _embeddable(svg: str, key: str) -> str:
    """Without the prolog of a file, and with ids of its own."""
    svg = svg[svg.index("<svg") :].strip()
    return re.sub(r'(\bid="|href="#|url\(#)', rf"\g<1>{key}-", svg)
