"""What must survive a kill in the middle of an ingest: the next row id, and what was counted.

The journal is written before each commit. If the process dies between the two, the batch that it
announces is not in the table, and its counts are dropped when the journal is opened again; its row
ids stay unused.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from lbr_search.index.files import read_json, write_json

JOURNAL_FILE = "journal.json"
COUNTS = ("n_encoded", "n_truncated", "n_tokens_lost", "encode_seconds")


class Journal:
    """Row ids and totals over the life of one index."""

    def __init__(self, folder: Path, next_row: int, totals: dict[str, float]) -> None:
        self._path = folder / JOURNAL_FILE
        self.next_row = next_row
        self.totals = totals

    @classmethod
    def open(cls, folder: Path, *, rows: Collection[int]) -> Journal:
        """Read the journal of `folder`, or begin one; settle what the last run announced.

        Args:
            folder: the index.
            rows: first row ids of all documents in the table, those to be healed included.

        Raises:
            IndexFormatError: the journal is damaged.
        """
        path = folder / JOURNAL_FILE
        journal = cls(folder, 0, dict.fromkeys(COUNTS, 0))
        if path.exists():
            values = read_json(path, fix="ingest the corpus into a new --index folder")
            journal.next_row = int(values["next_row"])
            journal.totals = _sum(journal.totals, values["totals"])
            announced = values["announced"]
            if announced and announced["first_row"] in rows:
                journal.totals = _sum(journal.totals, announced["counts"])
        # the journal may have been lost, the table not
        journal.next_row = max(journal.next_row, 1 + max(rows, default=-1))
        journal._write(announced=None)
        return journal

    def announce(self, n_rows: int, counts: Mapping[str, float]) -> int:
        """Reserve `n_rows` ids for the commit that follows; returns the first."""
        first = self.next_row
        self.next_row += n_rows
        self._write(announced={"first_row": first, "counts": dict(counts)})
        self.totals = _sum(self.totals, counts)
        return first

    def _write(self, *, announced: Mapping[str, Any] | None) -> None:
        values = {"next_row": self.next_row, "totals": self.totals, "announced": announced}
        write_json(self._path, values)


def _sum(left: Mapping[str, float], right: Mapping[str, float]) -> dict[str, float]:
    return {name: left.get(name, 0) + right.get(name, 0) for name in COUNTS}
