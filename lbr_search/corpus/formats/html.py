"""HTML pages: the main text by trafilatura, without menus, advertisements and footers."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from lbr_search.corpus.each import read_each, read_whole
from lbr_search.corpus.guarded import guarded
from lbr_search.corpus.language import noted_language
from lbr_search.corpus.outline import markdown_sections, one_line
from lbr_search.corpus.records import RowError
from lbr_search.errors import MissingExtraError
from lbr_search.protocols import ReadOptions, RejectSink
from lbr_search.types import Document, MetadataValue


def read_html(path: Path, *, options: ReadOptions, rejects: RejectSink) -> Iterator[Document]:
    """Pages (.html, .htm, .xhtml): main text with its headings and tables, in any encoding."""
    parse_apart = guarded("lbr_search.corpus.formats.html:parse")
    suffixes = (".html", ".htm", ".xhtml")
    return read_each(path, parse_apart, suffixes, options=options, rejects=rejects)


def parse(file: Path, options: ReadOptions, rejects: RejectSink) -> Iterator[Document]:
    """The document of one page.

    Raises:
        RowError: no main text is found.
        MissingExtraError: trafilatura is not installed.
    """
    try:
        import trafilatura
    except ImportError as error:  # its own parts may be absent too
        raise MissingExtraError(
            f"HTML files need the package 'trafilatura', which cannot be imported: {error}.",
            'pip install "lbr-search[docs]"',
        ) from error
    tree = trafilatura.load_html(read_whole(file))
    if tree is None:
        raise RowError("no HTML: it cannot be parsed")
    language = next(iter(tree.xpath("/html/@lang")), "")
    # not extensive: a date that is guessed from the text takes half of the time, and is a guess
    about = trafilatura.extract_metadata(tree, extensive=False)
    text = trafilatura.extract(
        tree, output_format="markdown", include_comments=False, include_tables=True
    )
    if not text or not text.strip():
        raise RowError("no main text: menus and links alone")
    metadata: dict[str, MetadataValue] = {
        "author": about.author if about else None,
        "date": about.date if about else None,
        "site": about.sitename if about else None,
        "language": language.strip() or noted_language(file, text, rejects),
    }
    yield Document(
        doc_id=file.name,
        text=text,
        title=one_line((about.title if about else None) or file.stem),
        domain=options.domain,
        metadata={name: value for name, value in metadata.items() if value},
        sections=markdown_sections(text),
    )
