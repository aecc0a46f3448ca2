"""Which language a text is written in, where its file does not say."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from lbr_search.protocols import RejectSink

if TYPE_CHECKING:
    from py3langid.langid import LanguageIdentifier

_HEAD_CHARS = 400
_MIN_LETTERS = 200
"""Names, formulas and code of fewer letters look like any language."""
_SURE = 0.99
"""Of 6,743 texts of twelve English suites (at most 1,500 each) 5,519 were then taken for English,
the rest, most of them code, for nothing, and none for another language."""


def language_of(text: str) -> str:
    """The ISO 639-1 code of a text's language by its first 400 characters.

    Returns:
        "" where fewer than 200 of them are letters, or no language has a share of .99.

    >>> language_of("zu kurz")
    ''
    """
    head = text[:_HEAD_CHARS]
    if sum(map(str.isalpha, head)) < _MIN_LETTERS:
        return ""
    language, share = _identifier().classify(head)
    return str(language) if share >= _SURE else ""


def noted_language(file: Path, text: str, rejects: RejectSink) -> str:
    """As `language_of`, and a language other than English is noted: it may surprise."""
    language = language_of(text)
    if language not in ("", "en"):
        rejects.note(file, f"language guessed: {language}")
    return language


@cache
def _identifier() -> LanguageIdentifier:
    """The model of 97 languages that py3langid ships, read once (0.6 to 1 s)."""
    from py3langid.langid import MODEL_FILE, LanguageIdentifier

    return LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
