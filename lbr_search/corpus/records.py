"""Rows of a file -> documents: which column is what, typed metadata, ids that may not repeat."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from lbr_search.corpus.compressed import plain_name
from lbr_search.errors import CorpusError
from lbr_search.protocols import ReadOptions, RejectSink
from lbr_search.registry import nearest
from lbr_search.types import Document, MetadataValue

ID_COLUMNS = ("_id", "id", "doc_id", "docid")
TITLE_COLUMNS = ("title", "name")
TEXT_COLUMNS = ("text", "body", "content", "contents", "abstract")
"""Names looked for, in this order, when the options name no column."""

_INT64_LIMIT = 2**63


@dataclass(frozen=True, slots=True)
class Columns:
    """Which column holds the id, the title and the text; None = the file has none."""

    id: str | None
    title: str | None
    text: str

    @property
    def names(self) -> frozenset[str]:
        """The columns in use; all others are metadata."""
        return frozenset(name for name in (self.id, self.title, self.text) if name is not None)


def choose_columns(known: Iterable[str], options: ReadOptions, *, file: Path) -> Columns:
    """Take the columns that the options name, else the first common name that the file has.

    Raises:
        CorpusError: a named column is absent, or no column looks like text; lists what there is.
    """
    columns = list(dict.fromkeys(known))
    mistakes = [
        f"{file} has no column {name!r} for the {role} ({nearest(name, columns)})"
        for role, name in (
            ("id", options.id_column),
            ("title", options.title_column),
            ("text", options.text_column),
        )
        if name is not None and name not in columns
    ]
    if mistakes:
        raise CorpusError(
            "\n".join(mistakes) + f"\n  columns  {', '.join(columns)}",
            "name existing columns with --id-column, --title-column and --text-column",
        )
    text = options.text_column or _first(TEXT_COLUMNS, columns)
    if text is None:
        raise CorpusError(
            f"{file} has no column that looks like text.\n"
            f"  columns     {', '.join(columns)}\n"
            f"  looked for  {', '.join(TEXT_COLUMNS)}",
            "name the column with --text-column",
        )
    return Columns(
        id=options.id_column or _first(ID_COLUMNS, columns),
        title=options.title_column or _first(TITLE_COLUMNS, columns),
        text=text,
    )


class RowConverter:
    """Turns the rows of one file into documents and remembers their ids.

    Args:
        file: where the rows stand, for ids and messages.
        columns: which column is what.
        domain: given to every document.
        rejects: where rows go that cannot become a document.
    """

    def __init__(self, file: Path, columns: Columns, *, domain: str, rejects: RejectSink) -> None:
        self.file = file
        self.columns = columns
        self._domain = domain
        self._rejects = rejects
        self._stem = Path(plain_name(file)).stem
        self._line_of: dict[str, int] = {}

    def convert(self, row: Mapping[str, object], line: int) -> Document | None:
        """The document of `row`, or None when it was rejected.

        Raises:
            CorpusError: its id stands on an earlier line too.
        """
        try:
            document = Document(
                doc_id=self._doc_id(row, line),
                text=_text(row, self.columns.text),
                title=_title(row, self.columns.title),
                domain=self._domain,
                metadata=_metadata(row, self.columns.names),
            )
            check_document(document)
        except RowError as error:
            self._rejects.add(self.file, line, str(error))
            return None
        first = self._line_of.setdefault(document.doc_id, line)
        if first != line:
            raise CorpusError(
                f"{self.file} holds the id {document.doc_id!r} twice:\n"
                f"  line {first}\n  line {line}",
                "remove one of the two lines, or name another column with --id-column",
            )
        return document

    def _doc_id(self, row: Mapping[str, object], line: int) -> str:
        name = self.columns.id
        if name is None:
            return f"{self._stem}:{line}"
        value = row.get(name)
        if isinstance(value, bool) or not isinstance(value, str | int):
            raise RowError(
                f"missing id: no {name!r}"
                if value is None
                else f"id is not a string or whole number: {name!r} is {type(value).__name__}"
            )
        if value == "":
            raise RowError(f"missing id: {name!r} is empty")
        return str(value)


class RowError(ValueError):
    """A row cannot become a document; says why, as ``kind: detail``."""


def check_document(document: Document) -> None:
    """Refuse what no index can hold.

    Raises:
        RowError: neither title nor text has a visible character, or a string is not Unicode
            (half of a surrogate pair, which JSON can smuggle in and UTF-8 cannot write).
    """
    if not document.text.strip() and not document.title.strip():
        raise RowError("empty text")
    strings = (v for v in document.metadata.values() if isinstance(v, str))
    headings = (heading for part in document.sections for heading in part.path)
    for string in (document.doc_id, document.title, document.text, *strings, *headings):
        try:
            string.encode("utf-8")
        except UnicodeEncodeError as error:
            raise RowError(f"not valid Unicode: {error.reason}") from error


def metadata_value(value: object) -> MetadataValue:
    """A value that a column can hold; what is nested becomes JSON, what does not fit a string.

    >>> metadata_value(2019), metadata_value(["a", "b"]), metadata_value(float("nan"))
    (2019, '["a", "b"]', None)
    """
    if isinstance(value, bool | str) or value is None:
        return value
    if isinstance(value, int):
        return value if -_INT64_LIMIT <= value < _INT64_LIMIT else str(value)
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, list | dict):
        return json.dumps(value, ensure_ascii=False, sort_keys=True, default=str)
    return str(value)  # dates, times and decimals of Parquet


def _metadata(row: Mapping[str, object], used: frozenset[str]) -> dict[str, MetadataValue]:
    """All other columns; BEIR's ``metadata`` object is flattened, columns beside it win."""
    nested = row.get("metadata") if "metadata" not in used else None
    flat = dict(nested) if isinstance(nested, dict) else {}
    for name, value in row.items():
        if name not in used and value is not nested:
            flat[name] = value
    values = {str(name): metadata_value(value) for name, value in flat.items()}
    return {name: value for name, value in values.items() if value is not None}


def _text(row: Mapping[str, object], name: str) -> str:
    value = row.get(name)
    if value is None:
        raise RowError(f"missing text: no {name!r}")
    if not isinstance(value, str):
        raise RowError(f"text is not a string: {name!r} is {type(value).__name__}")
    return value


def _title(row: Mapping[str, object], name: str | None) -> str:
    value = row.get(name) if name is not None else None
    if value is None:
        return ""
    if isinstance(value, list | dict | bytes):
        raise RowError(f"title is not a string: {name!r} is {type(value).__name__}")
    return str(value)


def _first(candidates: Iterable[str], columns: Iterable[str]) -> str | None:
    known = set(columns)
    return next((name for name in candidates if name in known), None)
