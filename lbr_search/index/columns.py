"""Metadata keys as typed columns of the store, so that filters run where the rows are.

The type of a key is that of its first value. An int column becomes float when a float comes; any
other disagreement makes it a string column (numbers and booleans as JSON writes them). A key that
the store cannot use as a column name is renamed. Both are told in `warnings`.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from lbr_search.types import MetadataValue

RESERVED = (
    *("row_id", "doc_id", "chunk_no", "title", "text", "domain", "start", "end"),
    *("doc_hash", "vector", "multi_codes", "multi_scales"),
)
"""Columns of every store; a metadata key of such a name becomes ``meta_<name>``."""
RETYPED = "__retyped__"
"""Prefix of a column that is being given another type."""
_INT64 = 2**63


@dataclass(frozen=True, slots=True)
class Column:
    """Where the values of one metadata key are stored."""

    key: str
    column: str
    kind: str
    """int, float, bool or string."""


@dataclass(slots=True)
class MetadataColumns:
    """The columns seen so far, by metadata key."""

    by_key: dict[str, Column] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)

    @classmethod
    def from_list(cls, rows: Iterable[Mapping[str, str]]) -> MetadataColumns:
        """From what `to_list` gave."""
        return cls({row["key"]: Column(row["key"], row["column"], row["kind"]) for row in rows})

    def to_list(self) -> list[dict[str, str]]:
        """JSON-able rows, in the order the keys were first seen."""
        return [
            {"key": column.key, "column": column.column, "kind": column.kind}
            for column in self.by_key.values()
        ]

    def learn(self, records: Iterable[Mapping[str, MetadataValue]]) -> bool:
        """Make room for the keys and values of `records`; True when a column is new or retyped.

        >>> columns = MetadataColumns()
        >>> columns.learn([{"year": 2015, "title": "x"}, {"year": 2015.5}])
        True
        >>> [(c.key, c.column, c.kind) for c in columns.by_key.values()]
        [('year', 'year', 'float'), ('title', 'meta_title', 'string')]
        """
        is_changed = False
        for record in records:
            for key, value in record.items():
                if value is None:
                    continue
                known = self.by_key.get(key)
                kind = kind_of(value)
                if known is None:
                    self.by_key[key] = Column(key, self._column_name(key), kind)
                    is_changed = True
                elif known.kind not in (kind, "string"):
                    is_changed |= self._widen(known, kind)
        return is_changed

    def _widen(self, known: Column, kind: str) -> bool:
        merged = "float" if {known.kind, kind} == {"int", "float"} else "string"
        if merged == known.kind:
            return False
        if merged == "string":
            self.warnings.append(
                f"metadata {known.key!r} holds {known.kind} and {kind} values; it is kept as text"
            )
        self.by_key[known.key] = Column(known.key, known.column, merged)
        return True

    def _column_name(self, key: str) -> str:
        # Lance refuses dots in a column's name, and SQL backticks cannot quote a backtick
        column = key.replace(".", "_").replace("`", "_") or "meta_"
        if column in RESERVED or column.startswith(RETYPED):
            column = f"meta_{column}"
        taken = {known.column for known in self.by_key.values()}
        while column in taken:
            column += "_"
        if column != key:
            self.warnings.append(f"metadata {key!r} is stored, and filtered, as {column!r}")
        return column


def kind_of(value: MetadataValue) -> str:
    """Name of a value's column type.

    >>> [kind_of(v) for v in (True, 3, 3.0, "3", 2**63)]
    ['bool', 'int', 'float', 'string', 'string']
    """
    if isinstance(value, bool):
        return "bool"
    if isinstance(value, int):
        return "int" if -_INT64 <= value < _INT64 else "string"
    return "float" if isinstance(value, float) else "string"


def as_kind(value: MetadataValue, kind: str) -> MetadataValue:
    """`value` as a column of type `kind` stores it.

    >>> as_kind(2, "float"), as_kind(True, "string"), as_kind(None, "int")
    (2.0, 'true', None)
    """
    if value is None:
        return None
    if kind == "string":
        return value if isinstance(value, str) else json.dumps(value)
    return float(value) if kind == "float" else value
