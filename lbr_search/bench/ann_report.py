"""What `bench ann` prints and draws."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import cycle
from typing import Any

from rich.console import Group, RenderableType
from rich.markup import escape
from rich.text import Text

from lbr_search.bench import page
from lbr_search.bench.ann import AnnResult, AnnVectors, growths
from lbr_search.bench.report import rich_table
from lbr_search.drawing import COLOURS, DASHES, MARKERS, draw_svg

HEADINGS = ("index", "vectors", "build s", "MB", "setting", "recall@10", "queries/s", "p50 ms")
GROWTH_HEADINGS = ("index", "sizes", "build time", "size", "latency")
GROWTH_NOTE = (
    "Growth: b of cost = a * vectors^b, fitted over the sizes; latency at the fastest setting with "
    "a recall@10 of 0.9 or more. One query at a time, the better of two passes; FAISS with one "
    "thread, LanceDB with its own."
)


def ann_report(vectors: AnnVectors, results: Sequence[AnnResult]) -> RenderableType:
    """Tables of the curves and of the growth."""
    curves = rich_table(f"{vectors.source}, {len(vectors.queries)} queries", HEADINGS)
    for result in results:
        for row in _curve_rows(result):
            curves.add_row(*map(escape, row))
        curves.add_section()
    growth = rich_table("Growth", GROWTH_HEADINGS)
    for row in _growth_rows(results):
        growth.add_row(*map(escape, row))
    return Group(curves, growth, Text(GROWTH_NOTE, style="dim"))


def ann_html(vectors: AnnVectors, results: Sequence[AnnResult]) -> str:
    """One page: a chart for each size, and the tables."""
    sections = [
        f'<p class="note">{page.escape(vectors.source)}, {len(vectors.queries)} queries</p>'
    ]
    for size in dict.fromkeys(result.n_rows for result in results):
        sections.append(f"<h2>{size:,} vectors</h2>")
        own = [result for result in results if result.n_rows == size]
        chart = curve_plot(own, key=f"ann{size}")
        sections.append(page.figure(chart, "Up and to the right is better; a point a setting."))
    rows = [row for result in results for row in _curve_rows(result)]
    sections.append(page.table(HEADINGS, rows, caption="Settings", n_text=1))
    growth = list(_growth_rows(results))
    sections.append(page.table(GROWTH_HEADINGS, growth, caption="Growth", n_text=2))
    sections.append(f'<p class="note">{page.escape(GROWTH_NOTE)}</p>')
    return page.page("lbr-search bench ann", sections)


def curve_plot(results: Sequence[AnnResult], *, key: str) -> str:
    """Queries per second (log) against recall@10 of every index, as ``<svg>``."""

    def fill(axes: Any) -> None:  # noqa: ANN401 - Axes
        looks = zip(results, cycle(COLOURS), cycle(DASHES), cycle(MARKERS), strict=False)
        for result, colour, dash, marker in looks:
            points = sorted((point.recall, point.queries_per_s) for point in result.curve)
            recalls, speeds = zip(*points, strict=True)
            axes.plot(recalls, speeds, dash, color=colour, marker=marker, label=result.kind)
        axes.set_yscale("log")
        axes.set_xlabel("recall@10")
        axes.set_ylabel("queries/s (log scale)")
        axes.legend(frameon=False, loc="center left", bbox_to_anchor=(1, 0.5))

    return draw_svg(fill, key=key, size_inches=(8, 4))


def _curve_rows(result: AnnResult) -> Iterator[list[str]]:
    for point in result.curve:
        yield [
            result.kind,
            f"{result.n_rows:,}",
            f"{result.build_s:.2f}",
            f"{result.size_bytes / 1e6:,.1f}",
            f"{point.setting} {point.value}" if point.setting else "",
            f"{point.recall:.3f}",
            f"{point.queries_per_s:,.0f}",
            f"{point.p50_ms:.3f}",
        ]


def _growth_rows(results: Sequence[AnnResult]) -> Iterator[list[str]]:
    for row in growths(results):
        yield [row["kind"], str(len(row["sizes"])), *_exponents(row)]


def _exponents(row: Mapping[str, Any]) -> list[str]:
    shown = (row["build"], row["size"], row["latency"])
    return ["not fitted" if value is None else f"{value:.2f}" for value in shown]
