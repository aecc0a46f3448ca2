"""`log.jsonl`: one JSON line a step, one an evaluation, and what happened besides."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from lbr_search.train.disk import disk_errors


class Log:
    """Appends lines. Lines after the step that a run goes on from are dropped: they come again.

    Args:
        path: of the file.
        upto: the last step whose lines stay.
        is_writer: false in all but one of the processes that train together.
    """

    def __init__(self, path: Path, *, upto: int, is_writer: bool = True) -> None:
        self._path = path
        self._is_writer = is_writer
        self.rewind(upto)

    def rewind(self, upto: int) -> None:
        """Drop the lines of later steps."""
        if self._is_writer and self._path.is_file():
            kept = [line for line in read_log(self._path) if line["step"] <= upto]
            # beside, then renamed: a kill in the middle must not lose the curve
            partial = self._path.with_suffix(".partial")
            partial.write_text("".join(json.dumps(line) + "\n" for line in kept), "utf-8")
            partial.replace(self._path)

    def write(self, step: int, **values: float) -> None:
        """Add a line."""
        if not self._is_writer:
            return
        rounded = {name: round(value, 6) for name, value in values.items()}
        with disk_errors(self._path.parent), self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"step": step, **rounded}) + "\n")


def read_log(path: Path) -> list[dict[str, Any]]:
    """The whole lines of a log; after a kill or on a full disk one may be cut off.

    Lines with "loss" are steps, those with "score" evaluations.
    """
    lines = path.read_text("utf-8").splitlines() if path.is_file() else []
    return [json.loads(line) for line in lines if line.startswith("{") and line.endswith("}")]
