"""Headings and paragraphs -> a document's text and its sections."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from lbr_search.types import Document, MetadataValue, Section

_HEADING = re.compile(r"^ {0,3}(#{1,6})[ \t]+(.+?)[ \t]*#*[ \t]*$")
_FENCE = re.compile(r"^ {0,3}(```|~~~)")
_BLANKS = re.compile(r"[^\S\n]+")
_MAX_HEADING_CHARS = 200


@dataclass(slots=True)
class Outline:
    """Collects the parts of a document in order."""

    _parts: list[str] = field(default_factory=list)
    _sections: list[Section] = field(default_factory=list)
    _path: list[tuple[int, str]] = field(default_factory=list)
    _length: int = 0

    def heading(self, level: int, title: str) -> None:
        """Begin a section; `level` 1 is outermost. A heading without words is passed over."""
        title = one_line(title)[:_MAX_HEADING_CHARS]
        if not title:
            return
        while self._path and self._path[-1][0] >= level:
            self._path.pop()
        self._path.append((level, title))
        start = self._length + 2 if self._parts else 0
        self._sections.append(Section(start, tuple(name for _, name in self._path)))
        self.paragraph(title)

    def paragraph(self, text: str) -> None:
        """Add a paragraph, a table or a list; blanks at its ends go."""
        text = text.strip()
        if text:
            self._length += len(text) + (2 if self._parts else 0)
            self._parts.append(text)

    def build(
        self,
        doc_id: str,
        title: str,
        *,
        domain: str,
        metadata: Mapping[str, MetadataValue] | None = None,
    ) -> Document:
        """The document."""
        given = {name: value for name, value in (metadata or {}).items() if value not in (None, "")}
        return Document(
            doc_id=doc_id,
            text="\n\n".join(self._parts),
            title=one_line(title),
            domain=domain,
            metadata=given,
            sections=tuple(self._sections),
        )


def one_line(text: str) -> str:
    r"""Text with every run of white space as one blank.

    >>> one_line(" a \n  b ")
    'a b'
    """
    return " ".join(text.split())


def tidy(text: str) -> str:
    """Text whose lines are stripped and have single blanks; at most one empty line in a row."""
    lines = (_BLANKS.sub(" ", line).strip() for line in text.splitlines())
    return re.sub(r"\n{3,}", "\n\n", "\n".join(lines)).strip()


def markdown_sections(text: str) -> tuple[Section, ...]:
    r"""The sections of a Markdown text, by its ATX headings outside of code fences.

    >>> [(s.start, s.path) for s in markdown_sections("# A\nx\n## B\n")]
    [(0, ('A',)), (6, ('A', 'B'))]
    """
    sections: list[Section] = []
    path: list[tuple[int, str]] = []
    fence, at = "", 0
    for line in text.splitlines(keepends=True):
        marks = _FENCE.match(line)
        if marks and fence in ("", marks[1]):
            fence = "" if fence else marks[1]
        elif not fence and (match := _HEADING.match(line.rstrip("\r\n"))):
            level = len(match[1])
            while path and path[-1][0] >= level:
                path.pop()
            path.append((level, one_line(match[2])[:_MAX_HEADING_CHARS]))
            sections.append(Section(at, tuple(name for _, name in path)))
        at += len(line)
    return tuple(sections)


def table_text(rows: list[list[str]]) -> str:
    """Rows of cells as lines of a Markdown table, which chunking keeps whole.

    >>> print(table_text([["dose", "mg"], ["low", "5"]]))
    | dose | mg |
    | low | 5 |
    """
    cells = ([one_line(cell).replace("|", "/") for cell in row] for row in rows)
    return "\n".join(f"| {' | '.join(row)} |" for row in cells if any(row))
