"""Where output goes: results to stdout, progress and errors to stderr."""

from __future__ import annotations

import json
import os
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console, RenderableType


PLAIN_COLUMNS = 120
"""Width of tables in files and pipes, where no terminal says how wide it is."""


def stdout() -> Console:
    """A console for results; plain text where stdout is not a terminal."""
    from rich.console import Console

    console = Console(file=sys.stdout, highlight=False)
    if not console.is_terminal and "COLUMNS" not in os.environ:
        console.width = PLAIN_COLUMNS
    return console


def stderr() -> Console:
    """A console for progress and notes."""
    from rich.console import Console

    return Console(file=sys.stderr, highlight=False, soft_wrap=True)


def show(renderable: RenderableType) -> None:
    """Print a result."""
    stdout().print(renderable)


def to_stderr(line: str) -> None:
    """Print a line of progress, a note or an error, as it is."""
    sys.stderr.write(line + "\n")
    sys.stderr.flush()


def show_json(record: dict[str, Any]) -> None:
    """Print one JSON object on one line."""
    sys.stdout.write(json.dumps(record, ensure_ascii=False) + "\n")
