"""Headings and paragraphs -> a document's text and its sections."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from lbr_search.types import Document, MetadataValue, Section

_HEADING = re.compile(r"^ {0,3}(#{1,6})[ \t]+(.+?)[ \t]*#*[ \t]*$")
_FENCE = re.compile(r"^ {0,3}(```|~~~)")
_UNDERLINE = re.compile(r"^([=\-~^\"'`#*+.:_])\1{2,}[ \t]*\r?\n?$")
_NO_TITLE = re.compile(r"[-*+>|]|\d+[.)] ")
"""What a line of Markdown begins with that a line of marks makes no heading of: lists, tables."""
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

    @property
    def text(self) -> str:
        """All of it so far."""
        return "\n\n".join(self._parts)

    def build(
        self,
        doc_id: str,
        title: str,
        *,
        domain: str,
        metadata: Mapping[str, MetadataValue] | None = None,
    ) -> Document:
        """The document; metadata without a value is left out."""
        given = {n: value for n, value in (metadata or {}).items() if value not in (None, "")}
        return Document(
            doc_id=doc_id,
            text=self.text,
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
    r"""The sections of a Markdown text, by its headings outside of code fences.

    >>> [(s.start, s.path) for s in markdown_sections("# A\nx\n## B\n")]
    [(0, ('A',)), (6, ('A', 'B'))]
    >>> [(s.start, s.path) for s in markdown_sections("A\n===\nx\n\nB\n---\n")]
    [(0, ('A',)), (9, ('A', 'B'))]
    """
    headings: list[tuple[int, int, str]] = []
    fence, at = "", 0
    before, before_at, is_alone = "", 0, True
    for line in text.splitlines(keepends=True):
        marks = _FENCE.match(line)
        if marks and fence in ("", marks[1]):
            fence = "" if fence else marks[1]
        elif not fence and (match := _HEADING.match(line.rstrip("\r\n"))):
            headings.append((at, len(match[1]), match[2]))
        elif not fence and is_alone and before and not _NO_TITLE.match(before):
            match = _UNDERLINE.match(line)
            if match and match[1] in "=-":
                headings.append((before_at, 1 if match[1] == "=" else 2, before))
        is_alone = not before
        before, before_at = ("" if fence or marks else line.strip()), at
        at += len(line)
    return _nested(headings)


def rst_sections(text: str) -> tuple[Section, ...]:
    r"""The sections of a reStructuredText: titles with a line of marks below, or above too.

    >>> [(s.start, s.path) for s in rst_sections("===\nTop\n===\n\nPart\n----\nx\n")]
    [(0, ('Top',)), (13, ('Top', 'Part'))]
    """
    headings: list[tuple[int, int, str]] = []
    levels: dict[tuple[str, bool], int] = {}
    lines = ["", "", *text.splitlines(keepends=True)]
    at = 0
    for above, title, line in zip(lines, lines[1:], lines[2:], strict=False):
        match, over = _UNDERLINE.match(line), _UNDERLINE.match(above)
        name = title.strip()
        if match and name and len(line.rstrip()) >= len(name) and not _UNDERLINE.match(title):
            has_line_above = over is not None and over[1] == match[1]
            if has_line_above or not above.strip():
                level = levels.setdefault((match[1], has_line_above), len(levels) + 1)
                start = at - len(title) - (len(above) if has_line_above else 0)
                headings.append((start, level, name))
        at += len(line)
    return _nested(headings)


def _nested(headings: list[tuple[int, int, str]]) -> tuple[Section, ...]:
    """(Start, level, title) of each heading -> sections with the headings above them."""
    sections: list[Section] = []
    path: list[tuple[int, str]] = []
    for start, level, title in headings:
        while path and path[-1][0] >= level:
            path.pop()
        path.append((level, one_line(title)[:_MAX_HEADING_CHARS]))
        sections.append(Section(start, tuple(name for _, name in path)))
    return tuple(sections)


def table_text(rows: list[list[str]]) -> str:
    """Rows of cells as lines of a Markdown table, which chunking keeps whole.

    >>> print(table_text([["dose", "mg"], ["low", "5"]]))
    | dose | mg |
    | low | 5 |
    """
    cells = ([one_line(cell).replace("|", "/") for cell in row] for row in rows)
    return "\n".join(f"| {' | '.join(row)} |" for row in cells if any(row))
