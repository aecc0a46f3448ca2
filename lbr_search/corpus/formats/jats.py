"""JATS full text, as PubMed Central and publishers give it: sections, tables as text."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from lbr_search.corpus.compressed import open_bytes
from lbr_search.corpus.each import read_each
from lbr_search.corpus.formats.safe_xml import (
    Element,
    character,
    child,
    descendants,
    elements,
    name_of,
    text_of,
)
from lbr_search.corpus.language import noted_language
from lbr_search.corpus.outline import Outline, one_line, table_text
from lbr_search.protocols import ReadOptions, RejectSink
from lbr_search.types import Document, MetadataValue

_NO_TEXT = frozenset(
    {
        *("ref-list", "fn-group", "ack", "object-id", "inline-supplementary-material"),
        *("title", "label", "sec-meta", "graphic", "inline-graphic", "permissions"),
    }
)
_CONTAINERS = frozenset(
    {"body", "list", "list-item", "def-list", "boxed-text", "disp-quote", "fig-group", "app-group"}
)
_CAPTIONED = frozenset({"fig", "supplementary-material", "media"})
_TABLES = frozenset({"table-wrap", "table-wrap-group"})
_SPLITTING = _CONTAINERS | _CAPTIONED | _TABLES
"""What a publisher puts inside of a paragraph, and ends it for us."""
_APART = frozenset(
    {*("p", "title", "label", "break", "td", "th", "def", "list-item", "sec"), *_SPLITTING}
)
_TEX_BODY = re.compile(r"\\begin\{document\}(.*)\\end\{document\}", re.DOTALL)
"""A formula between the preambles that PubMed Central gives every one of them."""
_EMPTY_BRACKETS = re.compile(r"\s*[\[(][\s,;\N{EN DASH}-]*[\])]")
"""What is left of ``[12,13]`` without its references."""


def read_jats(path: Path, *, options: ReadOptions, rejects: RejectSink) -> Iterator[Document]:
    """Articles in JATS XML (.xml, .nxml), plain or compressed, each with its sections.

    Tables become rows of text, references are left out. The id is the file's name, and of several
    articles in a file that name with the article's PMC id, DOI or number.
    """
    return read_each(path, parse, (".xml", ".nxml"), options=options, rejects=rejects)


def parse(file: Path, options: ReadOptions, rejects: RejectSink) -> Iterator[Document]:
    """The articles of one file."""
    with open_bytes(file) as stream:
        for number, element in enumerate(elements(stream, ("article",)), start=1):
            metadata = _metadata(element)
            own = metadata.get("pmc") or metadata.get("doi") or number
            doc_id = file.name if element.getparent() is None else f"{file.name}::{own}"
            outline = Outline()
            meta = child(element, "front", "article-meta")
            for abstract in meta if meta is not None else ():
                if name_of(abstract) == "abstract":
                    outline.heading(1, _abstract_title(abstract))
                    _blocks(abstract, outline, 1)
            for part in ("body", "back"):
                whole = child(element, part)
                if whole is not None:
                    _blocks(whole, outline, 0)
            for part in element:
                if name_of(part) in ("sub-article", "response"):
                    kind = part.get("article-type", "of no type")
                    rejects.skip(file, f"{name_of(part)}: {kind}")
            language = metadata["language"] or noted_language(file, outline.text, rejects)
            title = text_of(
                child(meta, "title-group", "article-title"), without=frozenset({"xref"})
            )
            yield outline.build(
                doc_id,
                title or file.stem,
                domain=options.domain,
                metadata={**metadata, "language": language},
            )


def _abstract_title(abstract: Element) -> str:
    kind = abstract.get("abstract-type", "").replace("-", " ")
    return text_of(child(abstract, "title")) or f"{kind} abstract".strip().capitalize()


def _metadata(article: Element) -> dict[str, MetadataValue]:
    front = child(article, "front")
    meta = child(front, "article-meta")
    found: dict[str, MetadataValue] = {
        "journal": one_line(
            text_of(child(front, "journal-meta", "journal-title-group", "journal-title"))
        ),
        "article_type": article.get("article-type", ""),
        "language": article.get("{http://www.w3.org/XML/1998/namespace}lang", ""),
    }
    if meta is None:
        return found
    for identifier in descendants(meta, "article-id"):
        kind = identifier.get("pub-id-type", "")
        text = one_line(text_of(identifier))
        if kind in ("pmc", "pmcid", "doi", "pmid"):
            found["pmc" if kind == "pmcid" else kind] = text
    years = (text_of(child(date, "year")).strip() for date in descendants(meta, "pub-date"))
    year = next((year for year in years if year.isdigit()), None)
    found["year"] = int(year) if year else None
    found["keywords"] = "; ".join(one_line(text_of(word)) for word in descendants(meta, "kwd"))
    return found


def _blocks(element: Element, outline: Outline, depth: int) -> None:
    """The children of a section as headings, paragraphs and tables, in order."""
    for one in element:
        _block(one, outline, depth)


def _block(element: Element, outline: Outline, depth: int) -> None:
    name = name_of(element)
    if name in ("sec", "app"):
        outline.heading(depth + 1, _clean(text_of(child(element, "title"))))
        _blocks(element, outline, depth + 1)
    elif name in _CONTAINERS:
        _blocks(element, outline, depth)
    elif name == "def-item":
        outline.paragraph(f"{_words(child(element, 'term'))}: {_words(child(element, 'def'))}")
    elif name in _TABLES:
        _table(element, outline)
    elif name == "disp-formula":
        outline.paragraph(_formula(element))
    elif name in _CAPTIONED:
        caption = f"{_words(child(element, 'label'))} {_words(child(element, 'caption'))}"
        outline.paragraph(_clean(caption))
    elif name not in _NO_TEXT:
        _paragraph(element, outline, depth)


def _paragraph(element: Element, outline: Outline, depth: int) -> None:
    """A paragraph without its citations; lists, tables and figures inside end it."""
    words = [element.text or ""]
    for one in element:
        if name_of(one) in _SPLITTING:
            outline.paragraph(_clean("".join(words)))
            words = []
            _block(one, outline, depth)
        else:
            words.append(_inline(one))
        words.append(one.tail or "")
    outline.paragraph(_clean("".join(words)))


def _inline(element: Element) -> str:
    name = name_of(element)
    if not name:
        return character(element)
    if name == "xref" and element.get("ref-type") == "bibr":
        return ""  # the reference that it points to is left out too
    if name in ("disp-formula", "inline-formula"):
        return f" {_formula(element)} " if name == "disp-formula" else _formula(element)
    if name in _NO_TEXT:
        return ""
    inner = "".join(_inline(one) + (one.tail or "") for one in element)
    blank = " " if name in _APART else ""
    return f"{blank}{element.text or ''}{inner}{blank}"


def _formula(element: Element) -> str:
    tex = next(descendants(element, "tex-math"), None)
    if tex is None:
        text = one_line(text_of(element, without=_NO_TEXT))
        return text if name_of(element) == "inline-formula" or not text else f"$$ {text} $$"
    source = text_of(tex)
    body = _TEX_BODY.search(source)
    text = one_line(body[1] if body else source).strip("$ ")
    mark = "$" if name_of(element) == "inline-formula" else "$$"
    return f"{mark} {text} {mark}" if text else ""


def _table(element: Element, outline: Outline) -> None:
    heads = (_words(one) for one in descendants(element, "label", "caption"))
    outline.paragraph(" ".join(filter(None, heads)))
    rows = [
        [_words(cell) for cell in row if name_of(cell) in ("td", "th")]
        for row in descendants(element, "tr")
    ]
    outline.paragraph(table_text(rows))
    for foot in descendants(element, "table-wrap-foot"):
        outline.paragraph(_words(foot))


def _words(element: Element | None) -> str:
    """Text of a cell, a caption or a term as one line."""
    return _clean(text_of(element, apart=_APART))


def _clean(text: str) -> str:
    return _EMPTY_BRACKETS.sub("", one_line(text))
