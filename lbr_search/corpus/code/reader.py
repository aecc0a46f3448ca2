"""Source files -> documents: one for each function, method, class and type, one for the rest."""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from lbr_search.corpus import python_source
from lbr_search.corpus.code.languages import CODE_SUFFIXES, Language, language_of
from lbr_search.corpus.code.rules import MAX_CODE_BYTES, skipped_by_content, skipped_by_name
from lbr_search.corpus.code.symbols import CodeSymbol, first_sentence, symbols_of
from lbr_search.corpus.each import detected, read_one, read_whole
from lbr_search.corpus.records import RowError
from lbr_search.corpus.walk import walk_tree
from lbr_search.protocols import ReadOptions, RejectSink
from lbr_search.types import Document, Section

_MIN_REST_CHARS = 200
"""Code outside of every symbol that is a document too: less is imports and a licence."""


def read_code(path: Path, *, options: ReadOptions, rejects: RejectSink) -> Iterator[Document]:
    """The source files of a tree (or one), in thirteen languages, by their grammars.

    The id is ``path::Enclosing.name``, with ``:line`` where that name stood in the file before.
    The title holds path, enclosing class and signature; comment and code are the text. Files that
    are generated, minified, vendored, binary, or named by .gitignore or .lbrignore are skipped,
    and counted; one that no grammar fits is read by its lines, and counted too.
    """
    if path.is_dir():
        for file in walk_tree(path, lambda ignored: rejects.skip(ignored, IGNORED)):
            if file.suffix.lower() not in CODE_SUFFIXES:
                continue
            reason = skipped_by_name(file.relative_to(path).as_posix())
            if reason is not None:
                rejects.skip(file, reason)
                continue
            yield from read_one(file, parse, root=path, options=options, rejects=rejects)
    else:
        yield from read_one(path, parse, root=None, options=options, rejects=rejects)


IGNORED = "ignored: .gitignore or .lbrignore names it"


def parse(file: Path, options: ReadOptions, rejects: RejectSink) -> Iterator[Document]:
    """The documents of one source file.

    Raises:
        RowError: it is not text in an encoding that is in use.
        MissingExtraError: the grammar is not installed.
    """
    size = file.stat().st_size
    if size > MAX_CODE_BYTES:
        rejects.skip(file, f"too large: {size:,} bytes, at most {MAX_CODE_BYTES:,}")
        return
    data = read_whole(file)
    reason = skipped_by_content(file, data)
    if reason is not None:
        rejects.skip(file, reason)
        return
    text, encoding = detected(data)
    if encoding:
        rejects.note(file, f"encoding guessed: {encoding}")
    if not text.strip():
        rejects.skip(file, "empty: no code")
        return
    language = language_of(file, text)
    symbols = _python(text) if language.name == "python" else None
    if symbols is None:
        symbols, has_error = symbols_of(text.encode("utf-8"), language)
        if has_error and not symbols:
            rejects.note(file, f"read by lines: the {language.name} grammar does not fit")
    yield from _documents(file.name, text, language, symbols, options.domain)


def _python(text: str) -> list[CodeSymbol] | None:
    """Python by its own parser, which needs no grammar; None where it does not parse (Python 2)."""
    try:
        found = python_source.symbols_of(text.split("\n"))
    except RowError:
        return None
    symbols = []
    for symbol in found:
        if symbol.node is None:
            continue
        enclosing, _, name = symbol.name.rpartition(".")
        keyword = "class" if symbol.kind == "class" else "def"
        signature = symbol.signature.removeprefix(f"{enclosing}." if enclosing else "")
        docstring = ast.get_docstring(symbol.node) or ""
        body = symbol.node.body[0]
        after = (body.end_lineno or body.lineno) if docstring else symbol.node.lineno - 1
        symbols.append(
            CodeSymbol(
                name=name,
                kind=symbol.kind,
                enclosing=enclosing,
                signature=f"{keyword} {signature}",
                summary=first_sentence(docstring.split("\n\n")[0]),
                start=symbol.start_line - 1,
                code=after,
                body=max(after, body.lineno - 1),
                end=symbol.end_line,
            )
        )
    return symbols


def _documents(
    name: str, text: str, language: Language, symbols: Sequence[CodeSymbol], domain: str
) -> Iterator[Document]:
    lines = text.split("\n")
    seen: Counter[str] = Counter()
    for place, symbol in enumerate(symbols):
        qualified = f"{symbol.enclosing}.{symbol.name}" if symbol.enclosing else symbol.name
        doc_id = f"{name}::{qualified}"
        seen[doc_id] += 1
        if seen[doc_id] > 1:
            doc_id = f"{doc_id}:{symbol.start + 1}"
        hidden = _inner_bodies(symbols, place)
        kept = [n for n in range(symbol.start, symbol.end) if n not in hidden]
        yield _document(doc_id, name, [lines[n] for n in kept], language, domain, symbol)
    rest = _rest(lines, symbols)
    if not symbols or sum(len(line.strip()) for line in rest) >= _MIN_REST_CHARS:
        whole = CodeSymbol(
            name="", kind="module", enclosing="", signature="", summary="",
            start=0, code=0, body=0, end=len(lines),
        )  # fmt: skip
        yield _document(name, name, rest, language, domain, whole)


def _document(
    doc_id: str,
    name: str,
    lines: Sequence[str],
    language: Language,
    domain: str,
    symbol: CodeSymbol,
) -> Document:
    indent = min((len(line) - len(line.lstrip()) for line in lines if line.strip()), default=0)
    text = "\n".join(line[indent:] for line in lines).strip("\n")
    head = f"{symbol.enclosing}: {symbol.signature}" if symbol.enclosing else symbol.signature
    sections: tuple[Section, ...] = ()
    if symbol.summary:  # for the later chunks of a long symbol, which hold its comment no more
        n_head = symbol.code - symbol.start
        at = sum(len(line[indent:]) + 1 for line in lines[:n_head])
        sections = (Section(min(at, len(text)), (symbol.summary,), is_break=False),)
    return Document(
        doc_id=doc_id,
        text=text,
        title=f"{name} {head}".strip(),
        domain=domain,
        metadata={
            "path": name,
            "symbol": f"{symbol.enclosing}.{symbol.name}".strip("."),
            "kind": symbol.kind,
            "language": language.name,
            "start_line": symbol.start + 1,
            "end_line": symbol.end,
        },
        sections=sections,
    )


def _inner_bodies(symbols: Sequence[CodeSymbol], place: int) -> set[int]:
    """Lines of a class that stand in the documents of its members already; signatures stay."""
    symbol = symbols[place]
    if symbol.kind != "class":
        return set()
    hidden: set[int] = set()
    for number in range(place + 1, len(symbols)):  # in order: its members come first
        inner = symbols[number]
        if inner.start >= symbol.end:
            break
        if inner.end <= symbol.end and (inner.start, inner.end) != (symbol.start, symbol.end):
            hidden.update(range(max(inner.code + 1, inner.body), inner.end))
    return hidden


def _rest(lines: Sequence[str], symbols: Iterable[CodeSymbol]) -> list[str]:
    """Lines outside of every symbol."""
    taken = {line for symbol in symbols for line in range(symbol.start, symbol.end)}
    return [line for number, line in enumerate(lines) if number not in taken]
