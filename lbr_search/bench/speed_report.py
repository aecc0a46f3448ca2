"""What `bench --speed` prints: one table a part."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from rich.console import Group, RenderableType
from rich.markup import escape
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from lbr_search.bench.speed import SpeedResult


def speed_report(result: SpeedResult) -> RenderableType:
    """One table a part: figures, the goal, and how they were measured."""
    parts: list[RenderableType] = []
    for name, measured in result.parts.items():
        table = Table(title=f"Speed: {name}", title_justify="left")
        table.add_column("figure")
        table.add_column("value", justify="right")
        for figure, value in _figures(measured):
            table.add_row(escape(figure), escape(value))
        parts += [table, Text(f"goal: {measured['goal']}"), Text(measured["how"], style="dim")]
    return Group(*parts)


def _figures(measured: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Name and printed value of every figure; nested ones are joined by a dot."""
    for name, value in measured.items():
        if isinstance(value, Mapping):
            yield from _figures(value, f"{prefix}{name}.")
        elif name not in {"how", "goal"}:
            yield f"{prefix}{name}", f"{value:,.4g}" if isinstance(value, float) else str(value)
