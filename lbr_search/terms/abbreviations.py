"""Abbreviations that a text defines itself: "chronic obstructive pulmonary disease (COPD)".

Source: Schwartz and Hearst 2003, "A simple algorithm for identifying abbreviation definitions in
biomedical text", Pacific Symposium on Biocomputing 8:451-462.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator

PARENTHESES = re.compile(r"\(([^()]{2,200})\)")
SENTENCE_END = re.compile(r"[.!?;:](?=\s)|\n|[()]")
SHORT_FORM = re.compile(r"\w[\w/+&'-]{1,9}")
"""One word of 2 to 10 characters; the paper allows two words, which brings more noise."""
CUT_AFTER = re.compile(r"[;,]\s")
LONGEST_REACH = 200
"""Characters before the bracket that are looked at."""


def definitions(text: str) -> Iterator[tuple[str, str]]:
    """(short form, long form) pairs that `text` defines, in order.

    Both orders are read: long (SHORT) and SHORT (long).

    >>> list(definitions("Chronic obstructive pulmonary disease (COPD) is common."))
    [('COPD', 'Chronic obstructive pulmonary disease')]
    """
    if "(" not in text:
        return
    for match in PARENTHESES.finditer(text):
        inside = CUT_AFTER.split(match[1], maxsplit=1)[0].strip()
        before = _sentence_before(text, match.start())
        if is_short_form(inside):
            short, reach = inside, _last_words(before, inside)
        else:
            words = before.split()
            short, reach = (words[-1].strip(",") if words else ""), inside
            if not is_short_form(short) or len(inside.split()) < 2:
                continue
        long = long_form(short, reach)
        if long:
            yield short, long


def is_short_form(text: str) -> bool:
    """One word of 2 to 10 characters with a letter, and a capital or digit after the first.

    The paper asks for a letter and a first character that is a letter or digit; the capital keeps
    brackets with plain words out.

    >>> [is_short_form(t) for t in ("COPD", "mRNA", "see", "12", "n = 3", "T2")]
    [True, True, False, False, False, True]
    """
    if not SHORT_FORM.fullmatch(text) or not any(map(str.isalpha, text)):
        return False
    return any(c.isupper() for c in text) and sum(map(str.isalnum, text)) > 1


def long_form(short: str, text: str) -> str:
    """The shortest end of `text` that spells `short`, or "".

    Characters of the short form are found from right to left, in order; the first one must begin
    a word (function findBestLongForm of the paper, fig. 1).

    >>> long_form("HMM", "the use of a hidden Markov model")
    'hidden Markov model'
    """
    lower, place = text.lower(), len(text)
    letters = [letter for letter in short.lower() if letter.isalnum()]
    for number in range(len(letters) - 1, -1, -1):
        place = lower.rfind(letters[number], 0, place)
        while place > 0 and number == 0 and lower[place - 1].isalnum():
            place = lower.rfind(letters[0], 0, place)
        if place < 0:
            return ""
    long = text[lower.rfind(" ", 0, place) + 1 :].strip(" -,'\"")
    return long if _is_long_form(short, long) else ""


def _is_long_form(short: str, long: str) -> bool:
    """Longer than the short form, not holding it, and of few enough words (paper, sec. 3)."""
    n_words, n_letters = len(long.split()), sum(map(str.isalnum, short))
    is_few = n_words <= min(n_letters + 5, n_letters * 2)
    return is_few and len(long) > len(short) and short.lower() not in long.lower().split()


def _sentence_before(text: str, end: int) -> str:
    before = text[max(0, end - LONGEST_REACH) : end]
    ends = list(SENTENCE_END.finditer(before))
    return before[ends[-1].end() :].strip() if ends else before.strip()


def _last_words(before: str, short: str) -> str:
    """min(|A| + 5, |A| * 2) words, where the long form must begin (paper, sec. 3)."""
    return " ".join(before.split()[-min(len(short) + 5, len(short) * 2) :])


class DefinitionCounts:
    """Long forms of each short form over a corpus, counted while it streams by."""

    def __init__(self) -> None:
        self._counts: defaultdict[str, Counter[str]] = defaultdict(Counter)

    def add(self, text: str) -> None:
        """Count what one passage defines, each pair once."""
        for short, long in dict.fromkeys(definitions(text)):
            self._counts[short][" ".join(long.lower().split())] += 1

    def table(self) -> dict[str, str]:
        """Short form -> its most frequent long form; the first by alphabet where several are."""
        return {
            short: min(longs, key=lambda long: (-longs[long], long))
            for short, longs in sorted(self._counts.items())
        }


def expand(query: str, table: dict[str, str]) -> list[tuple[str, str]]:
    """(as written, long form) for each word of `query` that the table knows, once each.

    Case counts, but for a plural s: "COPD" and "PAHs", not "copd".
    """
    found = {}
    for word in re.findall(r"\w[\w/+&'-]*\w", query):
        for short in (word, word.removesuffix("s")):
            if short in table:
                found[word] = table[short]
                break
    return list(found.items())


def count_definitions(texts: Iterable[str]) -> dict[str, str]:
    """The table of a whole corpus at once."""
    counts = DefinitionCounts()
    for text in texts:
        counts.add(text)
    return counts.table()
