"""Medicine -> terms: one spelling, hyphened words joined, and numerals of types, stages, grades."""

from __future__ import annotations

import re
from collections.abc import Iterator

from lbr_search.terms.english import WORD, Memory, stems
from lbr_search.terms.folding import fold
from lbr_search.terms.spelling import american

HYPHENATED = re.compile(r"\w+(?:-\w+)+")
CODE = re.compile(r"(?<![\w-])([A-Z][A-Za-z]{0,5}) (\d{1,3}[A-Za-z]?)(?![\w-]|[.,]\d|%)")
"""A code written with a space: IL 6, COVID 19, BRCA 1."""
NUMBERED = re.compile(
    r"\b((?i:types?|stages?|grades?|class|classes|phases?|factors?|groups?|subtypes?|levels?|degrees?"
    r"|categor(?:y|ies)|complex|variants?|bipolar|angiotensin|collagen))[ -]+"
    r"((?:[IVX]+|[ivx]+)(?:[ABCabc]\d?)?|\d{1,3}[A-Za-z]?)\b(?!\.\d|%)",
)
ROMAN = re.compile(r"(?<![\w-])([IVX]{2,5})([A-D]?)(?![\w-])")
ROMAN_DIGITS = {"i": 1, "v": 5, "x": 10}


def medical(text: str) -> list[str]:
    """English in American spelling, and what a word writes in several ways in one of them.

    Compounds with a hyphen also stand joined (T-cell and Tcell, IL-6 and IL6), codes with a space
    as well (COVID 19); numerals after type, stage, grade and the like are Arabic and stay with
    that word, since a digit alone is no word of plain English.

    >>> medical("Type II diabetes, IL-6 in tumours")
    ['type', 'ii', 'diabet', 'il', 'tumor', 'il6', '6', 'type2', '2']
    """
    text = fold(text)
    terms = list(filter(None, map(_stems.__getitem__, WORD.findall(text.lower()))))
    if "-" in text:
        for compound in HYPHENATED.findall(_with_hyphen(text)):
            terms.extend(compound_terms(compound))
    terms.extend(f"{name}{number}".lower() for name, number in CODE.findall(text))
    terms.extend(f"{word}{number}" for word, number in numbered(text))
    terms.extend(f"{arabic(roman)}{letter}".lower() for roman, letter in ROMAN.findall(text))
    return terms


def compound_terms(compound: str) -> list[str]:
    """A hyphened word joined, and those of its parts that are too short for plain English.

    >>> compound_terms("anti-inflammatory"), compound_terms("T-cells"), compound_terms("IL-6")
    (['antiinflammatori'], ['tcell', 't'], ['il6', '6'])
    """
    parts = compound.lower().split("-")
    joined = _stems["".join(parts)]
    return [*filter(None, [joined]), *(part for part in parts if len(part) == 1)]


def numbered(text: str) -> Iterator[tuple[str, str]]:
    """(type, stage, grade ... , Arabic number) pairs of a text.

    >>> list(numbered("stage IIIA and grades 2, type-1"))
    [('stage', '3a'), ('grade', '2'), ('type', '1')]
    """
    for word, number in NUMBERED.findall(text):
        yield stems[word.lower()], arabic(number)


def arabic(numeral: str) -> str:
    """A Roman or Arabic number of a type in Arabic digits, its letter in lower case.

    >>> arabic("IV"), arabic("IIIB"), arabic("3B"), arabic("2")
    ('4', '3b', '3b', '2')
    """
    lower = numeral.lower()
    rest = lower.lstrip("ivx")
    roman = lower.removesuffix(rest)
    digits = [ROMAN_DIGITS[letter] for letter in roman]
    following = [*digits[1:], 0]
    value = sum(d if d >= after else -d for d, after in zip(digits, following, strict=False))
    return f"{value or ''}{rest}"


def _with_hyphen(text: str) -> str:
    """Only what stands between spaces and holds a hyphen: the rest need not be searched."""
    return " ".join(word for word in text.split() if "-" in word)


_stems = Memory(lambda word: stems[american(word)])
