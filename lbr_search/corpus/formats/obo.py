"""OBO ontologies: each term with its definition, synonyms and parents."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from lbr_search.corpus.compressed import read_lines
from lbr_search.corpus.each import read_each
from lbr_search.protocols import ReadOptions, RejectSink
from lbr_search.types import Document, MetadataValue

_QUOTED = re.compile(r'"((?:[^"\\]|\\.)*)"\s*([A-Z]*)')
_ESCAPED = re.compile(r"\\(.)")


def read_obo(path: Path, *, options: ReadOptions, rejects: RejectSink) -> Iterator[Document]:
    """Terms of .obo files, plain or compressed, by their ids; obsolete ones are skipped."""
    return read_each(path, parse, (".obo",), options=options, rejects=rejects)


def parse(file: Path, options: ReadOptions, rejects: RejectSink) -> Iterator[Document]:
    """The terms of one file."""
    for line, term in _terms(file, rejects):
        if term.get("is_obsolete", [""])[0] == "true":
            rejects.skip(file, f"obsolete term: {term.get('id', [''])[0]}")
        elif "id" not in term:
            rejects.add(file, line, "missing id: a term without one")
        else:
            yield _document(term, options.domain)


def _document(term: dict[str, list[str]], domain: str) -> Document:
    name = _ESCAPED.sub(r"\1", term.get("name", [""])[0])
    lines = [
        quoted
        for tag in ("def", "comment")
        for value in term.get(tag, [])
        if (quoted := _quoted(value))
    ]
    synonyms = list(dict.fromkeys(_quoted(value) for value in term.get("synonym", [])))
    if synonyms:
        lines.append(f"Synonyms: {'; '.join(synonyms)}")
    parents = [value.partition("!")[2].strip() for value in term.get("is_a", []) if "!" in value]
    if parents:
        lines.append(f"Is a: {'; '.join(parents)}")
    metadata: dict[str, MetadataValue] = {"namespace": term.get("namespace", [""])[0]}
    for tag in ("subset", "xref"):
        metadata[tag] = "; ".join(value.split(" ")[0] for value in term.get(tag, []))
    given = {key: value for key, value in metadata.items() if value}
    return Document(term["id"][0], "\n".join(lines), name, domain, given)


def _quoted(value: str) -> str:
    match = _QUOTED.match(value)
    return _ESCAPED.sub(r"\1", match[1] if match else value)


def _terms(file: Path, rejects: RejectSink) -> Iterator[tuple[int, dict[str, list[str]]]]:
    """(First line, tag -> values) of each [Term]."""
    term: dict[str, list[str]] | None = None
    first = 0
    for number, raw in read_lines(file):
        try:
            line = raw.decode("utf-8").strip()
        except UnicodeDecodeError as error:
            rejects.add(file, number, f"not UTF-8: {error.reason} at byte {error.start}")
            continue
        if line.startswith("["):
            if term is not None:
                yield first, term
            term, first = ({}, number) if line == "[Term]" else (None, 0)
        elif term is not None and ": " in line:
            tag, _, value = line.partition(": ")
            if tag in ("id", "name"):  # a comment may follow
                value = value.split(" ! ")[0].strip()
            term.setdefault(tag, []).append(value)
    if term is not None:
        yield first, term
