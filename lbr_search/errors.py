"""Errors a user can act on. Only the command line catches them; anything else is our bug.

Each message has three parts: what is wrong, the values that disagree, and the fix to type.
"""

from __future__ import annotations


class LbrError(Exception):
    """An expected failure: what is wrong, and the command or edit that puts it right.

    Args:
        message: what is wrong and which values disagree; may span lines.
        fix: the command or edit that resolves it.
    """

    def __init__(self, message: str, fix: str) -> None:
        super().__init__(message)
        self.message = message
        self.fix = fix

    def __str__(self) -> str:
        return f"{self.message}\nfix: {self.fix}"


class ConfigError(LbrError):
    """A setting is unknown, of the wrong type or out of range."""


class CorpusError(LbrError):
    """A source, its files or its qrels cannot be read as they are."""


class EncoderError(LbrError):
    """An encoder cannot be found, loaded or trusted."""


class IndexFormatError(LbrError):
    """An index folder is missing, incomplete, locked or damaged."""


class SealError(IndexFormatError):
    """An index is opened with another encoder than the one that built it."""


class RerankError(LbrError):
    """A reranker cannot score now; a search goes on without it, and says so."""


class FilterError(LbrError):
    """A metadata filter does not parse or names an unknown column."""


class ShapeError(LbrError):
    """Two arrays that must agree in shape do not."""


class MissingExtraError(LbrError):
    """An optional package is needed and absent; the fix names the extra."""


class TrainingError(LbrError):
    """Training cannot start, resume or go on."""


class QualityError(LbrError):
    """A measured quality is lower than before, by more than chance."""
