"""What cannot become documents, is left out by rule or read by a guess: counted, written down."""

from __future__ import annotations

import json
from pathlib import Path
from types import TracebackType
from typing import TextIO

from lbr_search.errors import CorpusError


class Rejects:
    """Counts rejected lines and writes each to a JSON-lines file, made at the first of them.

    Args:
        path: file to write, usually ``rejected.jsonl`` in the index folder; an old one is removed,
            so that what is there always belongs to the last run. None = count only.
        strict: stop at the first rejected line instead.
    """

    def __init__(self, path: Path | None, *, strict: bool = False) -> None:
        self.path = path
        self.strict = strict
        self.n_rejected = 0
        self.by_reason: dict[str, int] = {}
        self.skipped: dict[str, int] = {}
        self.noted: dict[str, int] = {}
        self._stream: TextIO | None = None
        if path is not None and path.is_file():
            try:
                path.unlink()
            except OSError as error:
                raise _cannot_write(path, error) from error

    def add(self, file: Path, line: int | None, reason: str) -> None:
        """Record one rejected line (or file, when `line` is None).

        Args:
            file: where it stands.
            line: its 1-based line or row.
            reason: ``kind: detail``; counts are kept by kind.

        Raises:
            CorpusError: in strict mode, or when the record cannot be written.
        """
        if self.strict:
            where = f"{file}" if line is None else f"{file}:{line}"
            raise CorpusError(
                f"{where} cannot be read: {reason}.",
                "correct it, or leave out --strict to skip and count such lines",
            )
        self.n_rejected += 1
        self._record(file, line, reason, self.by_reason, name="reason")

    def skip(self, file: Path, reason: str) -> None:
        """Count a file that is left out by rule; it is written down, and no mistake even if strict.

        Args:
            file: where it stands.
            reason: ``kind: detail``; counts are kept by kind.

        Raises:
            CorpusError: the record cannot be written.
        """
        self._record(file, None, reason, self.skipped, name="skipped")

    def note(self, file: Path, reason: str) -> None:
        """As `skip`, for a file that is read, but by a guess or not as well as others."""
        self._record(file, None, reason, self.noted, name="noted")

    @property
    def is_empty(self) -> bool:
        """Whether nothing was said of any file."""
        return not (self.n_rejected or self.skipped or self.noted)

    def close(self) -> None:
        """Close the file, if one was made."""
        if self._stream is not None:
            self._stream.close()
            self._stream = None

    def __enter__(self) -> Rejects:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def _record(
        self, file: Path, line: int | None, reason: str, counts: dict[str, int], *, name: str
    ) -> None:
        """Count a reason by its kind, and write it down under `name`."""
        kind = reason.partition(":")[0]
        counts[kind] = counts.get(kind, 0) + 1
        if self.path is not None:
            self._write(self.path, {"file": str(file), "line": line, name: reason})

    def _write(self, path: Path, record: dict[str, str | int | None]) -> None:
        try:
            if self._stream is None:
                path.parent.mkdir(parents=True, exist_ok=True)
                # line buffered: a killed run leaves what it saw; file names may hold odd bytes
                self._stream = path.open("w", encoding="utf-8", buffering=1, errors="replace")
            self._stream.write(json.dumps(record, ensure_ascii=False) + "\n")
        except OSError as error:
            raise _cannot_write(path, error) from error


def _cannot_write(path: Path, error: OSError) -> CorpusError:
    return CorpusError(
        f"cannot write rejected lines to {path}: {error.strerror}.",
        "make the folder writable or free space on its disk",
    )
