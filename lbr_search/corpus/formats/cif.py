"""Crystallographic Information Files: the headers of crystal structures, without coordinates."""

from __future__ import annotations

import enum
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from lbr_search.corpus.compressed import read_lines
from lbr_search.corpus.each import read_each
from lbr_search.corpus.outline import one_line
from lbr_search.protocols import ReadOptions, RejectSink
from lbr_search.types import Document, MetadataValue

_TITLES = ("_chemical_name_common", "_chemical_name_systematic", "_chemical_name_mineral")
_KEPT = {
    "_chemical_formula_sum": "formula",
    "_symmetry_space_group_name_h-m": "space_group",
    "_space_group_name_h-m_alt": "space_group",
    "_cell_volume": "cell_volume",
    "_journal_year": "year",
}
_GROUPS = (
    "_chemical_",
    "_publ_",
    "_journal_",
    "_cell_",
    "_symmetry_",
    "_space_group_name",
    "_exptl_crystal_",
)
_OPERATIONS = ("_xyz", "_site_id")
"""Lists of symmetry operations: the group's name says the same."""

_MAX_ITEM_CHARS = 20_000
"""Of one item; the abstract of a paper has 2,000."""


def read_cif(path: Path, *, options: ReadOptions, rejects: RejectSink) -> Iterator[Document]:
    """Headers of crystal structures (.cif): names, formula, cell, symmetry, publication."""
    return read_each(path, _parse, (".cif",), options=options, rejects=rejects)


def _parse(file: Path, options: ReadOptions, rejects: RejectSink) -> Iterator[Document]:
    blocks = list(_blocks(file, rejects))
    for name, items in blocks:
        title = next((items[key] for key in _TITLES if items.get(key)), name)
        lines = [f"{key[1:].replace('_', ' ')}: {value}" for key, value in items.items()]
        metadata: dict[str, MetadataValue] = {
            _KEPT[key]: value for key, value in items.items() if key in _KEPT
        }
        doc_id = file.name if len(blocks) == 1 else f"{file.name}::{name}"
        yield Document(doc_id, "\n".join(lines), title, options.domain, metadata)


def _blocks(file: Path, rejects: RejectSink) -> Iterator[tuple[str, dict[str, str]]]:
    """(Name, item -> value) of each data block."""
    name, block = "", _Block()
    for number, line, is_text in _lines(file, rejects):
        is_row = line[:1] != "_" and line[:5].lower() not in ("data_", "loop_")
        if is_row and block.is_passing:  # coordinates: most of a file
            continue
        words = line.replace("\t", " ").strip()
        word, _, rest = words.partition(" ")
        tag = word.lower()
        if is_text:
            block.value(line)
        elif tag.startswith("data_"):
            if name:
                yield name, block.items
            name, block = word[5:] or f"block {number}", _Block()
        elif tag == "loop_":
            block.loop = _Loop.BEGUN
        elif tag.startswith("_"):
            block.tag(tag, rest)
        elif tag and not tag.startswith("#"):
            block.value(words)
    if name:
        yield name, block.items


class _Loop(enum.Enum):
    """Where in a loop a line stands."""

    NONE = enum.auto()
    BEGUN = enum.auto()
    HEAD = enum.auto()
    VALUES = enum.auto()


@dataclass(slots=True)
class _Block:
    """Collects the items of a data block; of its loops those of one column alone, e.g. authors."""

    items: dict[str, str] = field(default_factory=dict)
    loop: _Loop = _Loop.NONE
    _key: str = ""

    @property
    def is_passing(self) -> bool:
        """Whether rows of a loop go by that nobody wants."""
        return self.loop is _Loop.VALUES and not self._key

    def tag(self, tag: str, value: str) -> None:
        """A name, and the value where it stands on the same line."""
        wanted = tag if tag.startswith(_GROUPS) and not tag.endswith(_OPERATIONS) else ""
        if self.loop in (_Loop.BEGUN, _Loop.HEAD):
            self._key = wanted if self.loop is _Loop.BEGUN else ""
            self.loop = _Loop.HEAD
            return
        self._key, self.loop = wanted, _Loop.NONE
        if value.strip():
            self.value(value)

    def value(self, text: str) -> None:
        """A value of the item that was named last, behind those that it has already."""
        key = self._key
        if self.loop is _Loop.NONE:
            self._key = ""
        else:
            self.loop = _Loop.VALUES
        text = one_line(text).strip("'\"")
        before = self.items.get(key, "")
        if key and text not in ("", "?", ".") and len(before + text) <= _MAX_ITEM_CHARS:
            self.items[key] = f"{before}; {text}" if before else text


def _lines(file: Path, rejects: RejectSink) -> Iterator[tuple[int, str, bool]]:
    """(Number, line, whether it is a text): what stands between semicolons is one line."""
    text: list[str] | None = None
    for number, raw in read_lines(file):
        try:
            line = raw.decode("utf-8").rstrip()
        except UnicodeDecodeError as error:
            rejects.add(file, number, f"not UTF-8: {error.reason} at byte {error.start}")
            continue
        if text is not None and line.startswith(";"):
            yield number, "\n".join(text), True
            text = None
        elif text is not None:
            text.append(line)
        elif line.startswith(";"):
            text = [line[1:]]
        else:
            yield number, line, False
