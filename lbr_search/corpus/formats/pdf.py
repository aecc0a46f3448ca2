"""PDF files by pypdf: the text layer, page by page. Nothing is recognised on scanned pages."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from lbr_search.corpus.each import read_each, read_whole
from lbr_search.corpus.guarded import guarded
from lbr_search.corpus.language import noted_language
from lbr_search.corpus.outline import one_line, tidy
from lbr_search.corpus.records import RowError
from lbr_search.errors import MissingExtraError
from lbr_search.protocols import ReadOptions, RejectSink
from lbr_search.types import Document, Section

if TYPE_CHECKING:
    import pypdf

_HYPHENATED = re.compile(r"(?<=[a-z])-\n(?=[a-z])")


def read_pdf(path: Path, *, options: ReadOptions, rejects: RejectSink) -> Iterator[Document]:
    """PDF files; the page that a passage begins on stands behind its title.

    Pages without text (scans) are counted; a file of nothing else, or one that needs a password,
    is rejected.
    """
    parse_apart = guarded("lbr_search.corpus.formats.pdf:parse")
    return read_each(path, parse_apart, (".pdf",), options=options, rejects=rejects)


def parse(file: Path, options: ReadOptions, rejects: RejectSink) -> Iterator[Document]:
    """The document of one file.

    Raises:
        RowError: it needs a password, or no page has text.
        MissingExtraError: pypdf is not installed.
    """
    try:
        import pypdf
    except ModuleNotFoundError as error:
        raise MissingExtraError(
            "PDF files need the package 'pypdf', which is not installed.",
            'pip install "lbr-search[docs]"',
        ) from error
    reader = pypdf.PdfReader(io.BytesIO(read_whole(file)))
    if reader.is_encrypted and not reader.decrypt(""):
        raise RowError("encrypted: the file needs a password")
    pages = [_text(reader, number, file, rejects) for number in range(len(reader.pages))]
    n_empty = sum(not page for page in pages)
    if n_empty == len(pages):
        raise RowError(f"no text layer: {n_empty} pages, probably scanned")
    if n_empty:
        rejects.skip(file, f"pages without text: {n_empty} of {len(pages)}")
    text, sections = "", []
    for number, page in enumerate(pages, start=1):
        if page:
            text += "\n\n" if text else ""
            sections.append(Section(len(text), (f"page {number}",), is_break=False))
            text += page
    about = reader.metadata
    title = one_line(about.title) if about is not None and about.title else file.stem
    yield Document(
        doc_id=file.name,
        text=text,
        title=title,
        domain=options.domain,
        metadata={"pages": len(pages), **_language(reader, file, text, rejects)},
        sections=tuple(sections),
    )


def _text(reader: pypdf.PdfReader, number: int, file: Path, rejects: RejectSink) -> str:
    """Text of one page; one that is damaged is put on record, and the others are read."""
    try:
        text = reader.pages[number].extract_text()
    except MemoryError:
        raise
    except Exception as error:  # noqa: BLE001 - the library raises anything on damaged pages
        rejects.add(file, number + 1, f"page left out: {type(error).__name__}: {error}")
        return ""
    return _HYPHENATED.sub("", tidy(text))


def _language(
    reader: pypdf.PdfReader, file: Path, text: str, rejects: RejectSink
) -> dict[str, str]:
    said = reader.root_object.get("/Lang")
    language = said if isinstance(said, str) and said else noted_language(file, text, rejects)
    return {"language": language} if language else {}
