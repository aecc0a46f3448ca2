"""DOCX by python-docx and EPUB by its own parts: headings, paragraphs and tables in order."""

from __future__ import annotations

import io
import posixpath
import urllib.parse
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from lbr_search.corpus.each import read_each, read_whole
from lbr_search.corpus.formats.archive import check_bomb
from lbr_search.corpus.formats.safe_xml import (
    Element,
    character,
    child,
    descendants,
    name_of,
    root_of,
    text_of,
)
from lbr_search.corpus.guarded import guarded
from lbr_search.corpus.language import noted_language
from lbr_search.corpus.outline import Outline, one_line, table_text
from lbr_search.corpus.records import RowError
from lbr_search.errors import MissingExtraError
from lbr_search.protocols import ReadOptions, RejectSink
from lbr_search.types import Document

_DAMAGED = (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, ValueError)
"""What `zipfile` raises in a book; RuntimeError where it needs a password."""
_HEADINGS = {f"h{level}": level for level in range(1, 7)}
_INLINE = frozenset(
    {
        *("a", "abbr", "b", "bdi", "bdo", "cite", "code", "del", "dfn", "em", "font", "i", "ins"),
        *("kbd", "mark", "q", "s", "samp", "small", "span", "strong", "sub", "sup", "u", "var"),
        *("br", "img", "math", "ruby"),
    }
)
_APART = frozenset({"br", "p", "li", "div", "td", "th", "tr"})
_NO_TEXT = frozenset({"script", "style", "nav", "head"})


def read_docx(path: Path, *, options: ReadOptions, rejects: RejectSink) -> Iterator[Document]:
    """Word documents (.docx): sections by the styles of headings, tables as rows."""
    parse_apart = guarded("lbr_search.corpus.formats.office:parse_docx")
    return read_each(path, parse_apart, (".docx",), options=options, rejects=rejects)


def read_epub(path: Path, *, options: ReadOptions, rejects: RejectSink) -> Iterator[Document]:
    """Books (.epub), one document each: chapters in reading order, sections by headings."""
    parse_apart = guarded("lbr_search.corpus.formats.office:parse_epub")
    return read_each(path, parse_apart, (".epub",), options=options, rejects=rejects)


def parse_docx(file: Path, options: ReadOptions, rejects: RejectSink) -> Iterator[Document]:
    """The document of one .docx file.

    Raises:
        RowError: a zip bomb.
        MissingExtraError: python-docx is not installed.
    """
    try:
        import docx
    except ModuleNotFoundError as error:
        raise MissingExtraError(
            "DOCX files need the package 'python-docx', which is not installed.",
            'pip install "lbr-search[docs]"',
        ) from error
    data = io.BytesIO(read_whole(file))
    with zipfile.ZipFile(data) as packed:
        check_bomb(packed)
    opened = docx.Document(data)
    # by id, once: the library looks through all styles for each paragraph
    styles = {style.style_id: style.name or "" for style in opened.styles}
    outline = Outline()
    for block in opened.iter_inner_content():
        _docx_block(block, outline, styles)
    about = opened.core_properties
    yield outline.build(
        file.name,
        about.title or file.stem,
        domain=options.domain,
        metadata={
            "author": about.author,
            "year": about.created.year if about.created else None,
            "language": about.language or noted_language(file, outline.text, rejects),
        },
    )


def _docx_block(
    block: Any,  # noqa: ANN401 - python-docx's classes
    outline: Outline,
    styles: Mapping[str, str],
) -> None:
    if hasattr(block, "rows"):
        outline.paragraph(table_text([[cell.text for cell in row.cells] for row in block.rows]))
        return
    style = styles.get(block._p.style or "", "")
    if style == "Title":
        outline.heading(1, block.text)
    elif style.startswith("Heading "):
        level = style.removeprefix("Heading ")
        outline.heading(int(level) + 1 if level.isdigit() else 2, block.text)
    else:
        outline.paragraph(block.text)


def parse_epub(file: Path, options: ReadOptions, rejects: RejectSink) -> Iterator[Document]:
    """The document of one book.

    Raises:
        RowError: a zip bomb, encrypted, or parts that the format needs are missing.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(read_whole(file))) as packed:
            check_bomb(packed)
            yield _book(packed, file, options, rejects)
    except RowError:
        raise
    except (*_DAMAGED, KeyError) as error:
        raise RowError(f"damaged: {error}") from error


def _book(
    packed: zipfile.ZipFile, file: Path, options: ReadOptions, rejects: RejectSink
) -> Document:
    container = root_of(packed.read("META-INF/container.xml"))
    roots = [one.get("full-path", "") for one in descendants(container, "rootfile")]
    if not roots:
        raise RowError("damaged: container.xml names no book")
    package = root_of(packed.read(roots[0]))
    folder = posixpath.dirname(roots[0])
    items = {one.get("id"): one.get("href", "") for one in descendants(package, "item")}
    outline = Outline()
    for reference in descendants(package, "itemref"):
        href = urllib.parse.unquote(items.get(reference.get("idref"), ""))
        name = posixpath.normpath(posixpath.join(folder, href))
        try:
            _page(root_of(packed.read(name)), outline)
        except (KeyError, *_DAMAGED) as error:
            rejects.add(file, None, f"chapter left out: {name}: {error}")
    about = child(package, "metadata")
    return outline.build(
        file.name,
        text_of(child(about, "title")) or file.stem,
        domain=options.domain,
        metadata={
            "author": one_line(text_of(child(about, "creator"))),
            "language": one_line(text_of(child(about, "language")))
            or noted_language(file, outline.text, rejects),
        },
    )


def _page(element: Element, outline: Outline) -> None:
    """Headings, paragraphs and tables below an element of XHTML, and text between them."""
    words = [element.text or ""]
    for one in element:
        name = name_of(one)
        if name in _INLINE:
            blank = " " if name == "br" else ""
            words.append(f"{blank}{text_of(one, without=_NO_TEXT, apart=_APART)}")
        elif not name:
            words.append(character(one))
        elif name not in _NO_TEXT:
            outline.paragraph(one_line("".join(words)))
            words = []
            _page_block(one, name, outline)
        words.append(one.tail or "")
    outline.paragraph(one_line("".join(words)))


def _page_block(element: Element, name: str, outline: Outline) -> None:
    if name in _HEADINGS:
        outline.heading(_HEADINGS[name], text_of(element, apart=_APART))
    elif name == "table":
        rows = [
            [text_of(cell, apart=_APART) for cell in row if name_of(cell) in ("td", "th")]
            for row in descendants(element, "tr")
        ]
        outline.paragraph(table_text(rows))
    elif name == "pre":
        outline.paragraph(text_of(element, without=_NO_TEXT))
    else:
        _page(element, outline)
