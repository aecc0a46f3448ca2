"""What of a training text stands in a test suite: runs of 13 words, or a whole short text.

Source of the measure: 13-gram overlap as in Brown et al. 2020, arXiv:2005.14165, appendix C. Words
are compared in lower case, without punctuation.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from hashlib import blake2b
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lbr_search.corpus.suite import load_suite, qrels_files

N_WORDS = 13
_WORD = re.compile(r"\w+")
_FACTOR = np.uint64(0x9E3779B97F4A7C15)
"""Odd, so that multiplying by it loses nothing modulo 2**64."""


def words_of(text: str) -> list[str]:
    """The words of a text in lower case, without punctuation."""
    return _WORD.findall(text.lower())


class WordRuns:
    """Texts -> hashes of their runs of words, the same in every process.

    Args:
        n_words: length of a run; a shorter text is one run, and no part of a longer one.
    """

    def __init__(self, n_words: int) -> None:
        self._n_words = n_words
        self._codes: dict[str, int] = {}

    def of(self, text: str) -> NDArray[np.uint64]:
        """One number a run, in the order of the text; none for a text without words."""
        codes = self.codes(text)
        return runs_of(codes, min(self._n_words, len(codes)))

    def codes(self, text: str) -> NDArray[np.uint64]:
        """One number a word, in the order of the text."""
        return np.array([self._code(word) for word in words_of(text)], dtype=np.uint64)

    def _code(self, word: str) -> int:
        code = self._codes.get(word)
        if code is None:
            code = int.from_bytes(blake2b(word.encode(), digest_size=8).digest(), "little")
            self._codes[word] = code
        return code


def runs_of(codes: NDArray[np.uint64], n_words: int) -> NDArray[np.uint64]:
    """Hashes of all runs of `n_words` of a text's words; runs of other lengths have other ones.

    Args:
        codes: of the words, as `WordRuns.codes` gives them.
        n_words: 1 or more; none fit into a shorter text.
    """
    if not 0 < n_words <= len(codes):
        return np.zeros(0, dtype=np.uint64)
    runs = np.full(len(codes) - n_words + 1, n_words, dtype=np.uint64)
    for offset in range(n_words):
        runs = (runs ^ codes[offset : offset + len(runs)]) * _FACTOR
        runs ^= runs >> np.uint64(29)
    return runs


class HeldOut:
    """The queries of suites and the documents that answer them, as hashes of runs of words.

    Args:
        texts: what training must not see.
    """

    def __init__(self, texts: Iterable[str]) -> None:
        self._runs = WordRuns(N_WORDS)
        runs = [self._runs.of(text) for text in texts]
        joined = np.concatenate(runs) if runs else np.zeros(0, dtype=np.uint64)
        self._held_out: NDArray[np.uint64] = np.unique(joined)

    def __len__(self) -> int:
        """Different runs."""
        return len(self._held_out)

    def overlaps(self, text: str) -> bool:
        """Whether a run of 13 words, or the whole of a shorter text, is held out."""
        runs = self._runs.of(text)
        if len(runs) == 0 or len(self._held_out) == 0:
            return False
        places = np.searchsorted(self._held_out, runs).clip(max=len(self._held_out) - 1)
        return bool((self._held_out[places] == runs).any())


def held_out_of(suites: Iterable[Path]) -> HeldOut:
    """All that the splits of some suites ask and answer, but for their train splits.

    Args:
        suites: BEIR folders.

    Raises:
        CorpusError: a file of a suite is broken.
    """
    texts: list[str] = []
    for folder in suites:
        for split in qrels_files(folder):
            if split == "train":
                continue
            suite = load_suite(folder, split=split, home=folder)
            judged = suite.qrels.values()
            answers = {doc for grades in judged for doc, grade in grades.items() if grade > 0}
            texts.extend(query.text for query in suite.queries)
            texts.extend(doc.text for doc in suite.documents() if doc.doc_id in answers)
    return HeldOut(texts)
