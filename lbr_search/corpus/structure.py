"""A document's structure for chunking: its parts, their headings, and what should not be cut."""

from __future__ import annotations

import re
from array import array
from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from lbr_search.types import Document, Section

SEPARATOR = " > "
"""Between title and headings in what the encoder reads."""

_MIN_PART_SHARE = 4
"""Sections shorter than this part of a chunk join their neighbour: a heading alone says little."""

# Table rows, fenced code lines and formulas: cut through one and neither half can be read.
_ROW = r"^[^\S\n]*\|[^\n]*\S|^[^\n]*\t[^\n]*\S"
_FORMULA = r"\$\$.+?\$\$|\\\[.+?\\\]|\\begin\{(?P<env>[a-z*]+)\}.+?\\end\{(?P=env)\}|\$[^$\n]+\$"
_GUARDED = re.compile(rf"{_ROW}|{_FORMULA}", re.MULTILINE | re.DOTALL)
_LINE = re.compile(r"[^\n]+")
_SIGNS = ("|", "\t", "$", "\\[", "\\begin")
_LONGEST_FORMULA_CHARS = 4_000


@dataclass(frozen=True, slots=True)
class Part:
    """A run of text that is cut by itself; half-open character span."""

    start: int
    end: int
    path: tuple[str, ...]


def parts_of(document: Document, n_tokens: Callable[[int, int], int], limit: int) -> list[Part]:
    """The sections of a document, short neighbours joined under the headings they share.

    Args:
        document: its sections in order; a section may start before the first one.
        n_tokens: tokens between two characters of its text.
        limit: tokens of a chunk; 0 = the document is not cut.
    """
    parts: list[Part] = []
    for part in _sections(document):
        last = parts[-1] if parts else None
        if last is not None and limit:
            sizes = n_tokens(last.start, last.end), n_tokens(part.start, part.end)
            is_short = min(sizes) * _MIN_PART_SHARE < limit and sum(sizes) <= limit
            if is_short or not all(sizes):  # white space is no part
                parts[-1] = Part(last.start, part.end, common_path(last.path, part.path))
                continue
        parts.append(part)
    return parts


def common_path(left: Sequence[str], right: Sequence[str]) -> tuple[str, ...]:
    """The headings that both stand under.

    >>> common_path(("Methods", "Patients"), ("Methods", "Doses"))
    ('Methods',)
    """
    shared = []
    for one, other in zip(left, right, strict=False):
        if one != other:
            break
        shared.append(one)
    return tuple(shared)


def headed(title: str, path: Sequence[str]) -> str:
    """Title and headings as one line; a first heading that repeats the title is said once.

    >>> headed("Aspirin", ("Aspirin", "Uses"))
    'Aspirin > Uses'
    """
    names = list(path[1:] if path and path[0].strip() == title.strip() else path)
    return SEPARATOR.join(name for name in (title, *names) if name)


def path_at(text: str, part: Part, inner: Sequence[Section], start: int) -> tuple[str, ...]:
    """The headings of a chunk of `part` that starts at a character.

    A heading that the chunk itself begins with is left out: the encoder reads it in the text.

    Args:
        text: of the document.
        part: what is being cut.
        inner: sections that are no breaks; the last one before `start` takes the part's place.
        start: where the chunk starts.
    """
    path = part.path
    for section in inner:
        if part.start <= section.start <= start:
            path = section.path
    head = text[start : start + 200].lstrip("# \n")
    return path[:-1] if path and start == part.start and head.startswith(path[-1]) else path


@dataclass(frozen=True, slots=True)
class Guards:
    """Spans that should stay whole, in order."""

    starts: array[int]
    ends: array[int]

    def holds(self, left: int, right: int) -> bool:
        """Whether a cut between the characters `left` and `right` goes through a span."""
        at = bisect_right(self.starts, left - 1) - 1
        return at >= 0 and right < self.ends[at]


def guards_of(document: Document) -> Guards | None:
    """Table rows and formulas of a text, every line of source code; None where there are none."""
    is_code = "start_line" in document.metadata
    if not is_code and not any(sign in document.text for sign in _SIGNS):
        return None
    starts, ends = array("q"), array("q")
    for start, end in _guarded_spans(document.text, is_code=is_code):
        starts.append(start)
        ends.append(end)
    return Guards(starts, ends) if starts else None


def _guarded_spans(text: str, *, is_code: bool) -> Iterator[tuple[int, int]]:
    for match in (_LINE if is_code else _GUARDED).finditer(text):
        if match.end() - match.start() <= _LONGEST_FORMULA_CHARS:
            yield match.span()


def _sections(document: Document) -> Iterator[Part]:
    """Spans between breaks; they cover the text, and only a text without characters is empty."""
    breaks = [section for section in document.sections if section.is_break]
    end = len(document.text)
    starts = [0, *(section.start for section in breaks)]
    paths = [(), *(section.path for section in breaks)]
    for start, stop, path in zip(starts, [*starts[1:], end], paths, strict=True):
        if stop > start or end == 0:
            yield Part(start, stop, path)
            if end == 0:
                return
