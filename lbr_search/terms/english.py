"""Plain English: lower case, stop words out, Snowball stems. What every domain builds on."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable

import Stemmer

STOP_WORDS = frozenset(
    re.findall(
        r"\w+",
        "a an and are as at be but by for if in into is it no not of on or such that the their "
        "then there these they this to was will with",
    )
)
"""The list that bm25s and Lucene call English."""
WORD = re.compile(r"\w\w+")
CACHED_WORDS = 300_000
"""Distinct words remembered, about 60 MB; the memory starts anew beyond."""
LONGEST_CACHED = 64
"""Characters of a word that is worth remembering: longer ones are data, not language."""


class Memory(dict[str, str]):
    """word -> what it becomes, worked out once; may be read and filled from several threads.

    Several terms of one word stand in one string with spaces between: strings are small, and one
    `split` of the joined strings of a text is faster than joining lists.
    """

    def __init__(self, work_out: Callable[[str], str]) -> None:
        super().__init__()
        self._work_out = work_out
        self._lock = threading.Lock()  # the stemmer holds one buffer

    def __missing__(self, word: str) -> str:
        with self._lock:
            made = self._work_out(word)
            if len(self) >= CACHED_WORDS:
                self.clear()
            if len(word) <= LONGEST_CACHED:
                self[word] = made
        return made


_stemmer = Stemmer.Stemmer("english", 0)
stems = Memory(lambda word: "" if word in STOP_WORDS else str(_stemmer.stemWord(word)))
"""Lower-case word -> its stem, "" for a stop word."""


def english(text: str) -> list[str]:
    """Lower case, words of two characters or more, stop words out, Snowball stems.

    Term for term the analysis of ``bm25s.tokenize(text, stopwords="en", stemmer=...)``.

    >>> english("The patients' insulin levels were measured.")
    ['patient', 'insulin', 'level', 'were', 'measur']
    """
    return list(filter(None, map(stems.__getitem__, WORD.findall(text.lower()))))
