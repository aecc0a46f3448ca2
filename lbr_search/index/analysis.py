"""The analysers by name and version; documents and queries of an index go through the same one.

Each adds to plain English analysis what its domain writes without spaces: codes in medicine,
names and formulas in chemistry, identifiers in code. The rule is the same throughout: such a
compound is kept whole *and* its parts are terms too. The analysers themselves stand in `terms`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from lbr_search.errors import ConfigError, IndexFormatError
from lbr_search.registry import nearest
from lbr_search.terms.chemistry import NAME, chemistry, structure_notes
from lbr_search.terms.code import DOTTED, code
from lbr_search.terms.english import WORD, english
from lbr_search.terms.medical import HYPHENATED, medical

Analyser = Callable[[str], list[str]]

ANALYSERS: dict[str, Analyser] = {
    "english": english,
    "medical": medical,
    "chemistry": chemistry,
    "code": code,
}
VERSIONS = {"english": 1, "medical": 2, "chemistry": 2, "code": 2}
"""To be raised with every change of an analyser's terms: an index of another version is refused by
search and gets new terms from its next ingest. Indexes that name no version have 1."""
ABBREVIATING = frozenset({"medical"})
"""Analysers under which the abbreviations that a corpus defines are gathered."""
NOTES: dict[str, Callable[[str], list[str]]] = {"chemistry": structure_notes}
"""What an analyser has to say of a query that it could not read as it was written."""
TOKEN = re.compile(r"\S*[^\s.,;:!?]")
UNITS = (WORD, HYPHENATED, DOTTED, NAME, TOKEN)


@dataclass(frozen=True, slots=True)
class AnalyserVersion:
    """An analyser as an index records it."""

    name: str
    version: int

    def __str__(self) -> str:
        return f"{self.name}-{self.version}"


def versioned(name: str) -> AnalyserVersion:
    """The analyser called `name` as it is now.

    >>> str(versioned("english"))
    'english-1'

    Raises:
        ConfigError: there is none.
    """
    analyser_named(name)
    return AnalyserVersion(name, VERSIONS[name])


def check_version(folder: Path, found: AnalyserVersion) -> None:
    """Refuse terms that another version of their analyser made: queries would not fit them.

    Raises:
        IndexFormatError: the analyser has changed since.
    """
    now = versioned(found.name)
    if found != now:
        raise IndexFormatError(
            f"the terms of {folder} are those of another analyser.\n"
            f"  index         {found}\n  this version  {now}",
            "ingest the same sources into this index again: its terms are made anew, nothing is "
            "encoded again",
        )


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
    for start, end in sorted(set(_units(text)), key=lambda span: (span[0], -span[1])):
        if start >= end_of_last and not wanted.isdisjoint(_own_terms(text[start:end], analyse)):
            spans.append((start, end))
            end_of_last = end
    return spans


def _own_terms(unit: str, analyse: Analyser) -> set[str]:
    """The terms of a word; of a compound those that none of its words has alone."""
    terms = set(analyse(unit))
    if WORD.fullmatch(unit):
        return terms
    # what is shorter than a word of English does not make the whole match
    words = {term for word in WORD.findall(unit) for term in analyse(word)}
    return {term for term in terms - words if len(term) > 1}


def _units(text: str) -> Iterator[tuple[int, int]]:
    for pattern in UNITS:
        for match in pattern.finditer(text):
            yield match.span()
