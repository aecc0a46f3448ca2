"""Text -> terms, one pure function a kind of text; documents and queries go through the same one.

Each analyser adds to plain English analysis what its domain writes without spaces: codes in
medicine, names and formulas in chemistry, identifiers in code. The rule is the same throughout:
such a compound is kept whole *and* its parts are terms too.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterator

import Stemmer

from lbr_search.errors import ConfigError
from lbr_search.registry import nearest

Analyser = Callable[[str], list[str]]

STOP_WORDS = frozenset(
    re.findall(
        r"\w+",
        "a an and are as at be but by for if in into is it no not of on or such that the their "
        "then there these they this to was will with",
    )
)
"""The list that bm25s and Lucene call English."""
WORD = re.compile(r"\w\w+")
HYPHENATED = re.compile(r"\w+(?:-\w+)+")
CHEMICAL = re.compile(r"[\w(\[{][\w()\[\]{}'\u2032,:+\-]*[\w)\]}'\u2032+]")
IDENTIFIER_PART = re.compile(r"[A-Z]+(?=[A-Z][a-z])|[A-Z]?[a-z]+|[A-Z]+|\d+|[^\W\d_A-Za-z]+")
DIGIT = re.compile(r"\d")
LOCANT = re.compile(r"[\d,()\[\]{}]")
BEGINNING = 5
LONG_WORD = 7
"""Chosen on the train and dev queries of four chemistry suites: mean nDCG@10 .562 -> .582; on
medical and code suites the same terms lose .01 to .03."""
CACHED_WORDS = 300_000
"""Distinct words remembered, about 60 MB; the memory starts anew beyond."""

LONGEST_CACHED = 64
"""Characters of a word that is worth remembering: longer ones are data, not language."""


class _Memory(dict[str, str]):
    """word -> what it becomes, worked out once; may be read and filled from several threads."""

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
_stems = _Memory(lambda word: "" if word in STOP_WORDS else str(_stemmer.stemWord(word)))


def english(text: str) -> list[str]:
    """Lower case, words of two characters or more, stop words out, Snowball stems.

    Term for term the analysis of ``bm25s.tokenize(text, stopwords="en", stemmer=...)``.

    >>> english("The patients' insulin levels were measured.")
    ['patient', 'insulin', 'level', 'were', 'measur']
    """
    return list(filter(None, map(_stems.__getitem__, WORD.findall(text.lower()))))


def medical(text: str) -> list[str]:
    """English, and hyphenated codes with a digit: whole, and their one-character parts.

    >>> medical("IL-6 in COVID-19")
    ['il', 'covid', '19', 'il-6', '6', 'covid-19']
    """
    terms = english(text)
    for compound in HYPHENATED.findall(_with_hyphen(text)):
        if DIGIT.search(compound):
            whole = compound.lower()
            terms.append(whole)
            terms.extend(part for part in whole.split("-") if len(part) == 1)
    return terms


def chemistry(text: str) -> list[str]:
    """English, the beginnings of long words, and names, locants and registry numbers whole.

    Names of one family share their beginning and differ in their ending (benzoic, benzoyl,
    benzoate), where an English stemmer joins little: words of `LONG_WORD` characters or more also
    give their first `BEGINNING`, as a term that no word can equal.

    >>> chemistry("2-Acetoxybenzoic acid (50-78-2)")
    ['acetoxybenzo', 'acid', '50', '78', '^aceto', '2-acetoxybenzoic', '50-78-2']
    """
    words = WORD.findall(text.lower())
    terms = list(filter(None, map(_stems.__getitem__, words)))
    beginnings = (word[:BEGINNING] for word in words if len(word) >= LONG_WORD)
    terms.extend(f"^{letters}" for letters in beginnings if letters.isalpha())
    rest = _with_hyphen(text)
    terms.extend(rest[start:end].lower() for start, end in _chemical_spans(rest))
    return terms


def code(text: str) -> list[str]:
    """English, and the parts of identifiers: camelCase, snake_case, dots, digits.

    >>> code("readFile(max_size)")
    ['readfil', 'max_siz', 'read', 'file', 'max', 'size']
    """
    parts = " ".join(filter(None, map(_parts.__getitem__, WORD.findall(text))))
    return english(text) + english(parts)


def _identifier_parts(word: str) -> str:
    """The parts of an identifier in one string; nothing where it is one word."""
    parts = " ".join(IDENTIFIER_PART.findall(word))
    return "" if parts == word else parts


_parts = _Memory(_identifier_parts)


def _with_hyphen(text: str) -> str:
    """Only what stands between spaces and holds a hyphen: the rest need not be searched."""
    return " ".join(word for word in text.split() if "-" in word) if "-" in text else ""


def _chemical_spans(text: str) -> Iterator[tuple[int, int]]:
    """Where compounds with a hyphen and a digit, comma or bracket stand."""
    for match in CHEMICAL.finditer(text):
        start, end = match.span()
        if text[start] + text[end - 1] in ("()", "[]", "{}"):
            start, end = start + 1, end - 1
        if "-" in text[start:end] and LOCANT.search(text, start, end):
            yield start, end


ANALYSERS: dict[str, Analyser] = {
    "english": english,
    "medical": medical,
    "chemistry": chemistry,
    "code": code,
}


def analyser_for(domain: str) -> str:
    """The analyser of a domain: its own where there is one, else English.

    >>> analyser_for("chemistry"), analyser_for("law")
    ('chemistry', 'english')
    """
    return domain if domain in ANALYSERS else "english"


def analyser_named(name: str) -> Analyser:
    """The function called `name`.

    Raises:
        ConfigError: there is none.
    """
    if name not in ANALYSERS:
        raise ConfigError(
            f"unknown analyser {name!r}; known: {', '.join(ANALYSERS)}.",
            nearest(name, list(ANALYSERS)),
        )
    return ANALYSERS[name]


def matched_terms(query: str, text: str, analyser: str) -> list[tuple[int, int]]:
    """Character spans of the words of `text` that share a term with `query`, for marking.

    A compound that matches whole is one span; else those of its words that match. Spans are
    half-open, in order, and do not overlap.

    >>> matched_terms("sorted lists", "To sort a list.", "english")
    [(3, 7), (10, 14)]
    """
    analyse = analyser_named(analyser)
    wanted = set(analyse(query))
    spans: list[tuple[int, int]] = []
    end_of_last = 0
    for start, end in sorted(_units(text), key=lambda span: (span[0], -span[1])):
        if start >= end_of_last and not wanted.isdisjoint(analyse(text[start:end])):
            is_compound = not WORD.fullmatch(text, start, end)
            if is_compound and text[start:end].lower() not in wanted:
                continue  # only a part matches: its words come next
            spans.append((start, end))
            end_of_last = end
    return spans


def _units(text: str) -> Iterator[tuple[int, int]]:
    for pattern in (WORD, HYPHENATED, CHEMICAL):
        for match in pattern.finditer(text):
            yield match.span()
