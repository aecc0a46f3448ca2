"""Pairs from structure: docstring -> code, title -> text, heading -> section.

Each pair is what the training sources hold: query, title, positive, group.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from lbr_search.corpus.compressed import open_writer
from lbr_search.corpus.docstrings import first_sentence, without_docstring
from lbr_search.corpus.python_source import identified, source_lines, symbols_of
from lbr_search.corpus.readers import walk_files
from lbr_search.corpus.records import RowError
from lbr_search.protocols import RejectSink
from lbr_search.types import Document

MAX_CODE_LINES = 60
"""Longer functions do many things; their first sentence names one."""
MIN_NAME_WORDS = 3
MIN_PASSAGE_WORDS = 8
_NAME_PART = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+")
_HEADING = re.compile(r"^#{1,6}\s+(.+?)\s*#*\s*$", re.MULTILINE)
_TESTS = re.compile(r"(^|/)(tests?|testing|_tests?|conftest\.py)(/|$)|(^|/)test_[^/]*$")


@dataclass(frozen=True, slots=True)
class Pair:
    """A query and the passage that answers it; pairs of one group are never negatives."""

    query: str
    title: str
    positive: str
    group: str


def code_pairs(tree: Path, *, rejects: RejectSink) -> Iterator[Pair]:
    """Two questions to each documented function of a Python source tree; tests are left out.

    The first sentence of its docstring asks for the function without the docstring; the words of
    its name (three or more) ask for the function with the docstring, under another name.
    """
    for file in walk_files(tree, (".py",)):
        relative = file.relative_to(tree).as_posix()
        if _TESTS.search(relative):
            continue
        try:
            lines = source_lines(file)
            symbols = list(identified(relative, symbols_of(lines)))
        except RowError as error:
            rejects.add(file, None, str(error))
            continue
        for symbol_id, symbol in symbols:
            n_lines = symbol.end_line - symbol.start_line
            if symbol.kind not in ("function", "method") or n_lines > MAX_CODE_LINES:
                continue
            bare, docstring = without_docstring(symbol, lines)
            sentence = first_sentence(docstring)
            group = f"{tree.name}/{symbol_id}"
            has_body = len(getattr(symbol.node, "body", [])) > 1
            if sentence and has_body and sentence not in " ".join(bare.split()):
                yield Pair(sentence, "", bare, group)
            name = symbol.name.rpartition(".")[2]
            words = _NAME_PART.findall(name)
            if docstring and len(words) >= MIN_NAME_WORDS:
                hidden = re.sub(rf"\b{re.escape(name)}\b", "f", symbol.text)
                yield Pair(" ".join(words).lower(), "", hidden, group)


def document_pairs(documents: Iterable[Document]) -> Iterator[Pair]:
    """Title -> text of each document, and heading -> section where its text is Markdown."""
    for document in documents:
        sections = _sections(document.text)
        for heading, body in sections:
            yield Pair(heading, document.title, body, document.doc_id)
        if document.title and not sections and len(document.text.split()) >= MIN_PASSAGE_WORDS:
            yield Pair(document.title, "", document.text, document.doc_id)


def write_pairs(pairs: Iterable[Pair], path: Path) -> int:
    """Write pairs as JSON lines, packed as the file's name says. Returns their number."""
    n_written = 0
    partial = path.with_name(f".partial-{path.name}")
    with open_writer(partial) as stream:
        for pair in pairs:
            stream.write(json.dumps(asdict(pair), ensure_ascii=False) + "\n")
            n_written += 1
    partial.rename(path)
    return n_written


def _sections(text: str) -> list[tuple[str, str]]:
    headings = list(_HEADING.finditer(text))
    if not headings:
        return []
    ends = [*(heading.start() for heading in headings[1:]), len(text)]
    found = [
        (heading[1], text[heading.end() : end].strip())
        for heading, end in zip(headings, ends, strict=True)
    ]
    return [(name, body) for name, body in found if len(body.split()) >= MIN_PASSAGE_WORDS]
