"""Synonyms from a vocabulary that the user has: OBO or CSV -> words added to a query."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from lbr_search.errors import ConfigError
from lbr_search.types import Expansion

WORD = re.compile(r"\w+")
NAME_LINE = re.compile(r"name:\s*(.+)")
SYNONYM_LINE = re.compile(r'synonym:\s*"((?:[^"\\]|\\.)*)"\s*(EXACT|NARROW|BROAD|RELATED)?')
WEIGHTS = {"EXACT": 0.5, "NARROW": 0.25, "BROAD": 0.25, "RELATED": 0.25}
"""Of an added word by the scope of its synonym (OBO 1.4, sec. 5.5); one without a scope is RELATED
there. A name that the query does not hold counts as EXACT. Not tuned."""
MOST_SYNONYMS = 20
"""Added for one entry; the first of the file are taken."""
LONGEST_NAME = 12
"""Words of a name that is looked for in a query."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One thing with its names: (name, weight when added) each, the main name first."""

    names: tuple[tuple[str, float], ...]


class Ontology:
    """Names -> the other names of the same entry. Immutable; reads are thread-safe."""

    def __init__(self, entries: Iterable[Entry], *, source: str) -> None:
        self.source = source
        self._entries: dict[tuple[str, ...], list[Entry]] = {}
        for entry in entries:
            for key in dict.fromkeys(_words(name) for name, _ in entry.names):
                if 0 < len(key) <= LONGEST_NAME:
                    self._entries.setdefault(key, []).append(entry)

    def __len__(self) -> int:
        """How many names are known."""
        return len(self._entries)

    def expansions(self, query: str) -> list[Expansion]:
        """The synonyms of every name in `query`; of names that overlap, the longest from the left.

        >>> entry = Entry((("heart attack", 0.5), ("myocardial infarction", 0.5)))
        >>> [e.added for e in Ontology([entry], source="x").expansions("after Heart attack?")]
        ['myocardial infarction']
        """
        words = _words(query)
        found: list[Expansion] = []
        start = 0
        while start < len(words):
            key = self._longest_name(words[start : start + LONGEST_NAME])
            for entry in self._entries.get(key, ()):
                others = [pair for pair in entry.names if _words(pair[0]) != key]
                found += [
                    Expansion(self.source, " ".join(key), name, weight)
                    for name, weight in others[:MOST_SYNONYMS]
                ]
            start += max(1, len(key))
        return list(dict.fromkeys(found))

    def _longest_name(self, words: tuple[str, ...]) -> tuple[str, ...]:
        """The longest beginning of `words` that is a name, or nothing."""
        return next(
            (words[:end] for end in range(len(words), 0, -1) if words[:end] in self._entries), ()
        )


def load_ontology(path: Path) -> Ontology:
    """Read the names and synonyms of an .obo or .csv file; obsolete entries are left out.

    Raises:
        ConfigError: the file is missing, of another kind, not UTF-8, lacks the columns, or holds
            no synonym.
    """
    readers = {".obo": _read_obo, ".csv": _read_csv}
    reader = readers.get(path.suffix.lower())
    if reader is None:
        raise ConfigError(f"{path} is no ontology.", "give a file that ends in .obo or .csv")
    try:
        text = path.read_text("utf-8-sig")
    except FileNotFoundError as error:
        raise ConfigError(f"{path} does not exist.", "give the path of an .obo or .csv") from error
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} cannot be read: {error}.", f"save {path} as UTF-8") from error
    try:
        entries = [entry for entry in reader(text, path) if len(entry.names) > 1]
    except csv.Error as error:
        raise ConfigError(f"{path} is not valid CSV: {error}.", f"edit {path}") from error
    if not entries:
        raise ConfigError(
            f"{path} holds no synonym.",
            "an .obo has [Term] stanzas with name: and synonym: lines; a .csv the columns name "
            "and synonym, one pair a line",
        )
    return Ontology(entries, source=path.name)


def _read_obo(text: str, path: Path) -> list[Entry]:
    """The [Term] stanzas (OBO flat file format 1.4)."""
    entries = []
    for stanza in re.split(r"^(?=\[)", text, flags=re.MULTILINE):
        lines = stanza.splitlines()
        if lines and lines[0].strip() == "[Term]" and "is_obsolete: true" not in lines:
            entries.append(_obo_entry(lines[1:]))
    return entries


def _obo_entry(lines: list[str]) -> Entry:
    names: dict[str, float] = {}
    for line in lines:
        name, synonym = NAME_LINE.match(line), SYNONYM_LINE.match(line)
        if name is not None:
            names.setdefault(name[1].strip(), WEIGHTS["EXACT"])
        elif synonym is not None:
            written = re.sub(r"\\(.)", r"\1", synonym[1])
            names.setdefault(written, WEIGHTS[synonym[2] or "RELATED"])
    return Entry(tuple(names.items()))


def _read_csv(text: str, path: Path) -> list[Entry]:
    """Lines with a name and one synonym of it; other columns are ignored."""
    rows = csv.DictReader(io.StringIO(text, newline=""))
    missing = {"name", "synonym"} - set(rows.fieldnames or ())
    if missing:
        raise ConfigError(
            f"{path} lacks the columns {', '.join(sorted(missing))}.\n"
            f"  found  {', '.join(rows.fieldnames or ['nothing'])}",
            "begin the file with a line that holds name,synonym",
        )
    synonyms: dict[str, dict[str, float]] = {}
    for row in rows:
        name, synonym = (row["name"] or "").strip(), (row["synonym"] or "").strip()
        if name and synonym:
            names = synonyms.setdefault(name, {name: WEIGHTS["EXACT"]})
            names.setdefault(synonym, WEIGHTS["EXACT"])
    return [Entry(tuple(names.items())) for names in synonyms.values()]


def _words(text: str) -> tuple[str, ...]:
    return tuple(WORD.findall(text.casefold()))
