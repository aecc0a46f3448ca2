"""The passage of a hit that answers a query best, with the matching words marked."""

from __future__ import annotations

import bisect
import re
from collections.abc import Sequence
from dataclasses import dataclass

Span = tuple[int, int]

SENTENCE = re.compile(r"[^\n]*?(?:[.!?]+(?=\s)|\n|\Z)")  # "v1.2" does not end a sentence


@dataclass(frozen=True, slots=True)
class Snippet:
    """A window of a text. `text` holds single spaces; `marks` are half-open offsets into it."""

    text: str
    marks: tuple[Span, ...]
    start: int
    """Where the window begins in the hit's text, in characters."""
    end: int
    """Where it ends, exclusive."""


def best_passage(text: str, matches: Sequence[Span], *, max_chars: int = 240) -> Snippet:
    """The run of sentences, at most `max_chars` long, with the most different matching words.

    Ties go to the window with more matches in all, then to the earlier one; without any match the
    text's beginning is taken. A single sentence that is too long is cut at words.

    Args:
        text: what the hit holds.
        matches: half-open character offsets of the words that match the query, ascending.
        max_chars: > 0, longest window, in characters of `text`.

    >>> best_passage("It rains. The cat sat. We left.", [(14, 17)], max_chars=14).text
    'The cat sat.'
    """
    windows = _windows(_sentences(text, max_chars), max_chars) or [(0, 0)]
    start, end = max(windows, key=lambda window: _worth(window, text, matches))
    marks = [
        (first - start, min(last, end) - start) for first, last in _inside(matches, start, end)
    ]
    return _collapse(text[start:end], marks, start)


def _worth(window: Span, text: str, matches: Sequence[Span]) -> tuple[int, int, int]:
    start, end = window
    words = [text[first:last].lower() for first, last in _inside(matches, start, end)]
    return len(set(words)), len(words), -start


def _inside(matches: Sequence[Span], start: int, end: int) -> Sequence[Span]:
    """The matches that begin in [start, end); `matches` ascend."""
    first = bisect.bisect_left(matches, (start, 0))
    return matches[first : bisect.bisect_left(matches, (end, 0))]


def _sentences(text: str, max_chars: int) -> list[Span]:
    """Sentences or lines that cover `text`; longer ones are cut at whitespace."""
    pieces: list[Span] = []
    for match in SENTENCE.finditer(text):
        start, end = match.span()
        while end - start > max_chars:
            cut = text.rfind(" ", start + 1, start + max_chars)
            cut = start + max_chars if cut <= start else cut + 1
            pieces.append((start, cut))
            start = cut
        if end > start:
            pieces.append((start, end))
    return pieces


def _windows(pieces: Sequence[Span], max_chars: int) -> list[Span]:
    """For each piece the longest run of whole pieces that begins with it and fits."""
    windows, last = [], 0
    for first, (start, _) in enumerate(pieces):
        last = max(last, first)
        while last + 1 < len(pieces) and pieces[last + 1][1] - start <= max_chars:
            last += 1
        windows.append((start, pieces[last][1]))
    return windows


def _collapse(window: str, marks: Sequence[Span], start: int) -> Snippet:
    """Strip the window and make each run of whitespace one space; the marks move along."""
    kept: list[str] = []
    new_place = []  # for each character of the window, where it stands afterwards
    for character in window:
        is_space = character.isspace()
        new_place.append(len(kept))
        if not (is_space and (not kept or kept[-1] == " ")):
            kept.append(" " if is_space else character)
    new_place.append(len(kept))
    text = "".join(kept).rstrip()
    moved = tuple((new_place[first], min(new_place[last], len(text))) for first, last in marks)
    return Snippet(text, moved, start, start + len(window))
