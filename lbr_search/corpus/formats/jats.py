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
from lbr_search.corpus.outline import Outline, one_line, table_text
from lbr_search.protocols import ReadOptions, RejectSink
from lbr_search.types import Document, MetadataValue

_NO_TEXT = frozenset({"ref-list", "fn-group", "object-id", "inline-supplementary-material"})
_CONTAINERS = {"body", "list", "list-item", "def-list", "boxed-text", "disp-quote", "fig-group"}
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
    del rejects
    with open_bytes(file) as stream:
        for number, element in enumerate(elements(stream, ("article",)), start=1):
            metadata = _metadata(element)
            own = metadata.get("pmc") or metadata.get("doi") or number
            doc_id = file.name if element.getparent() is None else f"{file.name}::{own}"
            outline = Outline()
            meta = child(element, "front", "article-meta")
            for abstract in (
                (one for one in meta if name_of(one) == "abstract") if meta is not None else ()
            ):
                outline.heading(1, text_of(child(abstract, "title")) or "Abstract")
                _blocks(abstract, outline, 1)
            body = child(element, "body")
            if body is not None:
                _blocks(body, outline, 0)
            title = text_of(
                child(meta, "title-group", "article-title"), without=frozenset({"xref"})
            )
            yield outline.build(
                doc_id, title or file.stem, domain=options.domain, metadata=metadata
            )


def _metadata(article: Element) -> dict[str, MetadataValue]:
    front = child(article, "front")
    meta = child(front, "article-meta")
    found: dict[str, MetadataValue] = {
        "journal": one_line(
            text_of(child(front, "journal-meta", "journal-title-group", "journal-title"))
        ),
        "article_type": article.get("article-type", ""),
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
        name = name_of(one)
        if name == "sec":
            outline.heading(depth + 1, _clean(text_of(child(one, "title"))))
            _blocks(one, outline, depth + 1)
        elif name in _CONTAINERS:
            _blocks(one, outline, depth)
        elif name in ("table-wrap", "table-wrap-group"):
            _table(one, outline)
        elif name == "disp-formula":
            outline.paragraph(_formula(one))
        elif name in ("fig", "supplementary-material"):
            caption = f"{text_of(child(one, 'label'))} {text_of(child(one, 'caption'))}"
            outline.paragraph(_clean(caption))
        elif name not in _NO_TEXT and name not in ("title", "label", "sec-meta"):
            outline.paragraph(_paragraph(one))


def _paragraph(element: Element) -> str:
    """Text of a paragraph without its citations; displayed formulas stay inside."""
    parts = [element.text or ""]
    for one in element:
        name = name_of(one)
        if name == "disp-formula":
            parts.append(f" {_formula(one)} ")
        elif name == "xref" and one.get("ref-type") == "bibr":
            pass  # the reference that it points to is left out too
        elif not name:
            parts.append(character(one))
        elif name not in _NO_TEXT:
            parts.append(_paragraph(one))
        parts.append(one.tail or "")
    return _clean("".join(parts))


def _formula(element: Element) -> str:
    tex = next(descendants(element, "tex-math"), None)
    text = one_line(text_of(tex) if tex is not None else text_of(element, without=_NO_TEXT))
    return f"$$ {text.strip('$ ')} $$" if text else ""


def _table(element: Element, outline: Outline) -> None:
    for one in descendants(element, "label", "caption"):
        outline.paragraph(_clean(text_of(one)))
    rows = [
        [_clean(text_of(cell)) for cell in row if name_of(cell) in ("td", "th")]
        for row in descendants(element, "tr")
    ]
    outline.paragraph(table_text(rows))


def _clean(text: str) -> str:
    return _EMPTY_BRACKETS.sub("", one_line(text))
