"""Characters written in several ways -> one: Greek letters, dashes, primes, small digits."""

from __future__ import annotations

import re

GREEK = re.findall(
    r"\w+",
    "alpha beta gamma delta epsilon zeta eta theta iota kappa lambda mu nu xi omicron pi rho "
    "sigma tau upsilon phi chi psi omega",
)
_LETTERS = "αβγδεζηθικλμνξοπρστυφχψω"
_TABLE: dict[str, str] = {
    **dict(zip(_LETTERS, GREEK, strict=True)),
    **dict(zip(_LETTERS.upper(), GREEK, strict=True)),
    "ς": "sigma",
    "\u00b5": "mu",  # the micro sign
    **dict.fromkeys("\u2010\u2011\u2012\u2013\u2212", "-"),  # hyphens, dashes up to en, minus
    **dict.fromkeys("\u2032\u2019\u02b9", "'"),
    "\u2033": "''",
    **{chr(0x2080 + digit): str(digit) for digit in range(10)},  # H\u2082O
    **{chr(0x2070 + digit): str(digit) for digit in (0, *range(4, 10))},
    "\u207a": "+",
    "\u207b": "-",
}
_TRANSLATION = str.maketrans(_TABLE)


def fold(text: str) -> str:
    """`text` with one form of each; a Greek letter becomes its name.

    >>> fold("\u03b1-D-glucose and H\u2082O")
    'alpha-D-glucose and H2O'
    """
    return text if text.isascii() else text.translate(_TRANSLATION)
