"""Inverse cloze: a sentence asks for the passage that it was taken from.

Source: Lee et al. 2019, arXiv:1906.00300, sec. 4: the sentence is taken out of nine passages in
ten, so that meaning and not only shared words lead to the passage. Texts without questions teach
so how a claim relates to what is written around it.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator

PASSAGE_WORDS = 160
"""A passage ends with the sentence that reaches so many."""
MIN_WORDS, MAX_WORDS = 8, 40
"""Of a sentence that asks: shorter ones say too little, longer ones are lists and tables."""
MIN_PASSAGE_WORDS = 30
KEPT_SHARE = 0.1
_SENTENCE_END = re.compile(r"(?<=[.!?])\s+(?=[\"'(\[]?[A-Z0-9])|\n+")


def cloze_pairs(texts: Iterable[str]) -> Iterator[tuple[str, str, str]]:
    """(sentence, passage, group) of every passage long enough; a group is a text.

    Which sentence asks, and whether it stays in its passage, is decided by the passage's hash, so
    that the same texts always give the same pairs.
    """
    for text in texts:
        group = hashlib.blake2b(text.encode(), digest_size=8).hexdigest()
        for sentences in passages_of(text):
            pair = _pair(sentences)
            if pair is not None:
                yield (*pair, group)


def passages_of(text: str) -> Iterator[list[str]]:
    """The sentences of a text, gathered into passages.

    >>> list(passages_of("One is odd. Two is even. Three?"))
    [['One is odd.', 'Two is even.', 'Three?']]
    """
    passage: list[str] = []
    n_words = 0
    for sentence in _SENTENCE_END.split(text):
        if not sentence.strip():
            continue
        passage.append(sentence.strip())
        n_words += len(sentence.split())
        if n_words >= PASSAGE_WORDS:
            yield passage
            passage, n_words = [], 0
    if passage:
        yield passage


def _pair(sentences: list[str]) -> tuple[str, str] | None:
    candidates = [
        place
        for place, sentence in enumerate(sentences)
        if MIN_WORDS <= len(sentence.split()) <= MAX_WORDS
    ]
    n_words = sum(len(sentence.split()) for sentence in sentences)
    if not candidates or n_words < MIN_PASSAGE_WORDS:
        return None
    digest = hashlib.blake2b(" ".join(sentences).encode(), digest_size=8).digest()
    asked = candidates[int.from_bytes(digest[:4], "little") % len(candidates)]
    is_kept = int.from_bytes(digest[4:], "little") < KEPT_SHARE * 2**32
    rest = sentences if is_kept else sentences[:asked] + sentences[asked + 1 :]
    passage = " ".join(rest)
    is_enough = len(passage.split()) >= MIN_PASSAGE_WORDS
    return (sentences[asked], passage) if is_enough else None
