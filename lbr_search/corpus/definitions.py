"""Definitions: glossaries among tables, and first sentences that say what something is."""

from __future__ import annotations

import csv
import itertools
import re
from collections.abc import Sequence
from pathlib import Path

from lbr_search.corpus.compressed import read_lines
from lbr_search.corpus.readers import read_objects
from lbr_search.corpus.rejects import Rejects
from lbr_search.corpus.sources import ResolvedSource
from lbr_search.protocols import ReadOptions

TERM_COLUMNS = ("term", "name", "label", "preferred_label", "title")
DEFINITION_COLUMNS = ("definition", "def", "meaning")
"""Names looked for, in this order; a table with one of each is a glossary."""
MIN_DEFINITION_WORDS = 4
MAX_TERM_WORDS = 6
_DELIMITERS = {"csv": ",", "tsv": "\t"}
_DEFINES = re.compile(
    r"(?:An?\s|The\s)?(?P<term>[^.,;:!?()\n]{2,60}?)"
    r"(?:\s*\([^)\n]{1,60}\))?(?:,[^,.\n]{1,80},)?"  # another name, in brackets or commas
    r"\s+(?:is|are)\s+(?P<definition>(?:an?|the|any|one of)\s[^\n]+?[.!?])(?=\s|$)"
)
_POINTS_BACK = frozenset(
    "it this that these those there here he she they we you i one what which who such".split()  # noqa: SIM905
)
"""A first word that names nothing: the sentence defines no term."""


def glossary_options(source: ResolvedSource) -> tuple[ReadOptions, bool]:
    """How to read a source's columns, and whether it is a glossary: a term and its definition.

    Raises:
        CorpusError: the file is damaged.
    """
    columns = _columns(source)
    term = next((name for name in TERM_COLUMNS if name in columns), None)
    definition = next((name for name in DEFINITION_COLUMNS if name in columns), None)
    if term is None or definition is None:
        return ReadOptions(), False
    return ReadOptions(title_column=term, text_column=definition), True


def defined_term(text: str) -> tuple[str, str] | None:
    """The term that the first sentence of a text defines, and its definition without the term.

    >>> defined_term("Aspirin (ASA) is a drug that thins the blood. It is old.")
    ('Aspirin', 'A drug that thins the blood.')
    >>> defined_term("This is a drug that thins the blood.")
    """
    found = _DEFINES.match(text.lstrip())
    if found is None:
        return None
    term, definition = found["term"].strip(), found["definition"]
    words = term.lower().split()
    is_name = words and words[0] not in _POINTS_BACK and len(words) <= MAX_TERM_WORDS
    if not is_name or len(definition.split()) < MIN_DEFINITION_WORDS:
        return None
    return term, definition[0].upper() + definition[1:]


def _columns(source: ResolvedSource) -> Sequence[str]:
    """Column names of a table or JSON file; those of other kinds are not looked at."""
    if source.reader == "jsonl":
        first = next(read_objects(source.path, Rejects(None)), (0, {}))
        return list(first[1])
    if source.reader in _DELIMITERS:
        return _header(source.path, _DELIMITERS[source.reader])
    return ()


def _header(path: Path, delimiter: str) -> list[str]:
    lines = itertools.islice((line.decode("utf-8", "replace") for _, line in read_lines(path)), 1)
    return next(csv.reader(lines, delimiter=delimiter), [])
