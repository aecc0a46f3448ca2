"""Errors about metadata filters, in words that name the column that was meant."""

from __future__ import annotations

from collections.abc import Sequence

from lbr_search.errors import FilterError
from lbr_search.registry import nearest


def filter_error(expression: str, reason: str, columns: Sequence[str]) -> FilterError:
    """What is wrong with a filter, from what the table said about it."""
    reason = reason.splitlines()[0].removeprefix("Invalid input, ")
    known = [name for name in columns if name not in ("vector", "multi_codes", "multi_scales")]
    listed = ", ".join(known)
    _, is_unknown, rest = reason.partition("No field named ")
    if is_unknown:
        name = rest.split(". ")[0].strip('`". ')
        return FilterError(
            f"filter {expression!r}: there is no column {name!r}; known: {listed}.",
            nearest(name, known),
        )
    return FilterError(
        f"filter {expression!r} cannot be used: {reason.split(', /')[0]}.",
        f"write a condition such as \"domain = 'medical'\" over the columns {listed}",
    )
