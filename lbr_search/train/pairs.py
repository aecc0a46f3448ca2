"""Pairs from structure: docstring -> code, title -> text, heading -> section, term -> definition.

Each pair is what the training sources hold: query, title, positive, group.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from lbr_search.corpus.compressed import open_writer
from lbr_search.corpus.definitions import MIN_DEFINITION_WORDS, defined_term, glossary_options
from lbr_search.corpus.docstrings import first_sentence, without_docstring
from lbr_search.corpus.python_source import identified, source_lines, symbols_of
from lbr_search.corpus.readers import walk_files
from lbr_search.corpus.records import RowError
from lbr_search.corpus.sources import ResolvedSource, read_resolved
from lbr_search.errors import CorpusError
from lbr_search.protocols import ReadOptions, RejectSink
from lbr_search.types import Document

MAX_CODE_LINES = 60
"""Longer functions do many things; their first sentence names one."""
MIN_NAME_WORDS = 3
MIN_PASSAGE_WORDS = 8
SYNONYMS = ("synonyms", "synonym", "aliases", "other_names")
"""Metadata keys that hold other names of a term."""
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
    kind: str = ""
    """What it was made of, such as ``title -> text``."""


def structure_pairs(
    source: ResolvedSource, *, rejects: RejectSink, columns: tuple[str, str] | None = None
) -> Iterator[Pair]:
    """The pairs that a source's structure makes: of code by its docstrings, else of documents.

    Args:
        source: anything that can be ingested.
        rejects: told of what cannot be read.
        columns: of the term and of its definition; None = found by their names, if at all.

    Raises:
        CorpusError: the source is damaged, or has no such column.
    """
    if source.reader == "python" or (source.reader == "files" and source.domain == "code"):
        yield from code_pairs(source.path, rejects=rejects)
        return
    options, is_glossary = glossary_options(source)
    if columns is not None:
        options, is_glossary = ReadOptions(title_column=columns[0], text_column=columns[1]), True
    documents = read_resolved(source, options=options, rejects=rejects)
    yield from glossary_pairs(documents) if is_glossary else document_pairs(documents)


def code_pairs(tree: Path, *, rejects: RejectSink) -> Iterator[Pair]:
    """Two questions to each documented function of a Python file or tree; tests are left out.

    The first sentence of its docstring asks for the function without the docstring; the words of
    its name (three or more) ask for the function with the docstring, under another name.
    """
    for file in [tree] if tree.is_file() else walk_files(tree, (".py",)):
        relative = file.relative_to(tree.parent if tree.is_file() else tree).as_posix()
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
                yield Pair(sentence, "", bare, group, "docstring -> code")
            name = symbol.name.rpartition(".")[2]
            words = _NAME_PART.findall(name)
            if docstring and len(words) >= MIN_NAME_WORDS:
                hidden = re.sub(rf"\b{re.escape(name)}\b", "f", symbol.text)
                yield Pair(" ".join(words).lower(), "", hidden, group, "name -> code")


def document_pairs(documents: Iterable[Document]) -> Iterator[Pair]:
    """What the parts of a document ask for, in this order.

    Heading -> section where its text is Markdown, else title -> text; and, where the first sentence
    says what something is, the term -> the definition without the term.
    """
    for document in documents:
        name = document.doc_id
        sections = _sections(document.text)
        for heading, body in sections:
            yield Pair(heading, document.title, body, name, "heading -> section")
        if document.title and not sections and len(document.text.split()) >= MIN_PASSAGE_WORDS:
            yield Pair(document.title, "", document.text, name, "title -> text")
        if defined := defined_term(document.text):
            yield Pair(defined[0], "", defined[1], name, "term -> definition")


def glossary_pairs(documents: Iterable[Document]) -> Iterator[Pair]:
    """Term -> definition of each row, and every synonym of the term -> the same definition."""
    for document in documents:
        term = document.title.strip()
        if not term or len(document.text.split()) < MIN_DEFINITION_WORDS:
            continue
        yield Pair(term, "", document.text, document.doc_id, "term -> definition")
        for synonym in synonyms_of(document):
            yield Pair(synonym, "", document.text, document.doc_id, "synonym -> definition")


def synonyms_of(document: Document) -> list[str]:
    """Other names in the metadata: a list, or one string with ``|`` or ``;`` between them.

    >>> synonyms_of(Document("a", "A drug.", "Aspirin", metadata={"synonyms": "ASA| aspirin"}))
    ['ASA']
    """
    value = next((document.metadata[name] for name in SYNONYMS if name in document.metadata), "")
    names = [name.strip() for name in _listed(value if isinstance(value, str) else "")]
    return [n for n in dict.fromkeys(names) if n and n.lower() != document.title.strip().lower()]


def write_pairs(pairs: Iterable[Pair], path: Path) -> dict[str, int]:
    """Write pairs as JSON lines, packed as the file's name says. Returns kind -> number.

    Raises:
        CorpusError: there is no pair; nothing is written.
    """
    counts: Counter[str] = Counter()
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".partial-{path.name}")
    with open_writer(partial) as stream:
        for pair in pairs:
            stream.write(json.dumps(asdict(pair), ensure_ascii=False) + "\n")
            counts[pair.kind] += 1
    if not counts:
        partial.unlink()
        raise CorpusError(
            "the sources hold no documented function, title, heading or definition to make pairs "
            "of.",
            "give documents with titles, or name columns with --term-column and "
            "--definition-column",
        )
    partial.rename(path)
    return dict(counts)


def _listed(text: str) -> list[str]:
    if text.startswith("["):
        try:
            return [name for name in json.loads(text) if isinstance(name, str)]
        except json.JSONDecodeError:
            return []  # no list, and no names that could be told apart
    return re.split(r"[|;]", text)


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
