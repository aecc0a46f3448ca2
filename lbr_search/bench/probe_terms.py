"""Terms with their synonyms and definitions, and for each true answer fifty that look like it."""

from __future__ import annotations

import csv
import re
import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lbr_search.corpus.definitions import defined_term
from lbr_search.corpus.rejects import Rejects
from lbr_search.corpus.sources import read_source
from lbr_search.errors import ConfigError
from lbr_search.protocols import ReadOptions
from lbr_search.search.ontology import NAME_LINE, SYNONYM_LINE

KINDS = ("synonym", "definition")
N_FOILS = 50
MIN_FOILS = 10
_DEFINITION_LINE = re.compile(r'def:\s*"((?:[^"\\]|\\.)*)"')
_N_BUCKETS = 2048
"""Of hashed runs of three characters."""
_BLOCK = 256


@dataclass(frozen=True, slots=True)
class Term:
    """What a source says of one thing."""

    name: str
    synonyms: tuple[str, ...] = ()
    definition: str = ""


@dataclass(frozen=True, slots=True)
class ProbeItem:
    """A name, its true answer, and foils; answers are places in a list of texts."""

    name: str
    answer: int
    foils: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class ProbeSet:
    """All items of one kind."""

    kind: str
    texts: Sequence[str]
    items: Sequence[ProbeItem]
    n_left_out: int
    """Terms whose answer repeats their name, so that words alone would find it."""


def read_terms(source: str, *, home: Path) -> list[Term]:
    """Read an .obo or .csv file, or mine the first sentences of any source that `ingest` takes.

    A CSV has the columns name, and synonym or definition or both; a name may have several lines.

    Raises:
        ConfigError: the file has no such columns, or holds no term with a synonym or definition.
        CorpusError: the source cannot be read.
    """
    suffix = Path(source).suffix.lower()
    if suffix == ".obo":
        terms = list(_obo_terms(_text(Path(source))))
    elif suffix == ".csv":
        terms = list(_csv_terms(Path(source)))
    else:
        documents = read_source(source, home=home, options=ReadOptions(), rejects=Rejects(None))
        found = (defined_term(document.text) for document in documents)
        terms = [Term(pair[0], (), pair[1]) for pair in found if pair is not None]
    known = {term.name.casefold(): term for term in reversed(terms) if term.name}
    useful = [term for term in reversed(known.values()) if term.synonyms or term.definition]
    if not useful:
        raise ConfigError(
            f"{source} holds no term with a synonym or a definition.",
            "give an .obo, a .csv with the columns name,synonym,definition, or texts whose first "
            "sentences say what something is",
        )
    return useful


def probe_set(kind: str, terms: Sequence[Term], *, most: int, seed: int) -> ProbeSet:
    """The items of one kind: for each chosen term its answer and the hardest foils.

    Foils are the answers of other terms: those with the same head word (the last word) as the true
    answer, then those whose characters are most like the name that is asked, and like the answer.
    They do not depend on the encoders that are compared.

    Args:
        kind: synonym or definition.
        terms: all of the source; they are the pool of foils.
        most: terms that are asked.
        seed: of the choice.
    """
    answers = {term.name: _answer(term, kind) for term in terms}
    pool = [term for term in terms if answers[term.name]]
    own = {term.name: {_plain(n) for n in (term.name, *term.synonyms)} for term in pool}
    repeats = [t for t in pool if _plain(t.name) in _plain(answers[t.name])]
    kept = [term for term in pool if _plain(term.name) not in _plain(answers[term.name])]
    texts = [answers[term.name] for term in pool]
    places = {term.name: place for place, term in enumerate(pool)}
    generator = np.random.default_rng(seed)
    chosen = sorted(generator.permutation(len(kept))[:most].tolist())
    asked = [kept[number] for number in chosen]
    items = []
    for start in range(0, len(asked), _BLOCK):
        block = asked[start : start + _BLOCK]
        to_name = trigrams([term.name for term in block]) @ trigrams(texts).T
        to_answer = trigrams([answers[term.name] for term in block]) @ trigrams(texts).T
        for term, by_name, by_answer in zip(block, to_name, to_answer, strict=True):
            foils = _foils(places[term.name], texts, by_name, by_answer, own[term.name])
            if len(foils) >= MIN_FOILS:
                items.append(ProbeItem(term.name, places[term.name], tuple(foils)))
    return ProbeSet(kind, texts, items, len(repeats))


def trigrams(texts: Sequence[str]) -> NDArray[np.float32]:
    """(N, 2048): rows of length 1, counts of hashed runs of three characters.

    >>> bool(trigrams(["aspirin"])[0] @ trigrams(["Aspirin"])[0] > 0.999)
    True
    """
    counts = np.zeros((len(texts), _N_BUCKETS), dtype=np.float32)
    for row, text in enumerate(texts):
        padded = f" {_plain(text)} ".encode()
        for start in range(len(padded) - 2):
            counts[row, zlib.crc32(padded[start : start + 3]) % _N_BUCKETS] += 1
    counts /= np.maximum(np.linalg.norm(counts, axis=1, keepdims=True), 1e-9)
    return counts


def _foils(
    true: int,
    texts: Sequence[str],
    by_name: NDArray[np.float32],
    by_answer: NDArray[np.float32],
    own: set[str],
) -> list[int]:
    """A half with the same head word as far as there are such, the rest by likeness in turn."""
    head = _plain(texts[true]).split()[-1:]
    by_likeness = [np.argsort(-scores, kind="stable").tolist() for scores in (by_name, by_answer)]
    same_head = [p for p in by_likeness[1] if _plain(texts[p]).split()[-1:] == head]
    in_turn = [place for pair in zip(*by_likeness, strict=True) for place in pair]
    foils: dict[int, None] = {}
    seen = {_plain(texts[true]), *own}
    for most, places in ((N_FOILS // 2, same_head), (N_FOILS, in_turn)):
        for place in places:
            if len(foils) >= most:
                break
            if place not in foils and _plain(texts[place]) not in seen:
                foils[place] = None
                seen.add(_plain(texts[place]))
    return list(foils)


def _answer(term: Term, kind: str) -> str:
    if kind == "definition":
        return term.definition
    return next((s for s in term.synonyms if _plain(s) != _plain(term.name)), "")


def _plain(text: str) -> str:
    return " ".join(re.findall(r"\w+", text.casefold()))


def _obo_terms(text: str) -> Iterator[Term]:
    for stanza in re.split(r"^(?=\[)", text, flags=re.MULTILINE):
        lines = stanza.splitlines()
        if not lines or lines[0].strip() != "[Term]" or "is_obsolete: true" in lines:
            continue
        names = [found[1].strip() for line in lines if (found := NAME_LINE.match(line))]
        exact = [found for line in lines if (found := SYNONYM_LINE.match(line))]
        synonyms = tuple(_unescaped(found[1]) for found in exact if found[2] == "EXACT")
        defined = [found[1] for line in lines if (found := _DEFINITION_LINE.match(line))]
        if names:
            yield Term(names[0], synonyms, _unescaped(defined[0]) if defined else "")


def _csv_terms(path: Path) -> Iterable[Term]:
    rows = csv.DictReader(_text(path).splitlines())
    columns = set(rows.fieldnames or ())
    if "name" not in columns or not columns & set(KINDS):
        raise ConfigError(
            f"{path} has the columns {', '.join(sorted(columns)) or 'none'}.",
            "begin the file with a line that holds name, and synonym or definition or both",
        )
    found: dict[str, tuple[list[str], list[str]]] = {}
    for row in rows:
        synonyms, definitions = found.setdefault((row["name"] or "").strip(), ([], []))
        synonyms += [text for text in [(row.get("synonym") or "").strip()] if text]
        definitions += [text for text in [(row.get("definition") or "").strip()] if text]
    return [Term(n, tuple(s), d[0] if d else "") for n, (s, d) in found.items()]


def _text(path: Path) -> str:
    try:
        return path.read_text("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} cannot be read: {error}.", "give a file in UTF-8") from error


def _unescaped(text: str) -> str:
    return re.sub(r"\\(.)", r"\1", text)
