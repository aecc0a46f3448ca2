"""PubMed: MEDLINE XML as its baseline and update files come, and .nbib as its search exports it."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator
from pathlib import Path

from lbr_search.corpus.compressed import kind_suffix, open_bytes, read_lines
from lbr_search.corpus.each import read_each, read_one
from lbr_search.corpus.formats.safe_xml import (
    Element,
    child,
    descendants,
    elements,
    name_of,
    text_of,
)
from lbr_search.corpus.outline import one_line
from lbr_search.corpus.walk import walk_tree
from lbr_search.protocols import ReadOptions, RejectSink
from lbr_search.types import Document, MetadataValue

_MAX_PMID = 10**10
_YEAR = re.compile(r"\b\d{4}\b")


def read_pubmed(path: Path, *, options: ReadOptions, rejects: RejectSink) -> Iterator[Document]:
    """Articles of MEDLINE XML, plain or compressed: one file, or a folder of baseline and updates.

    The id is the PMID. Files count in the order of their names, as PubMed numbers them: a later
    version of an article replaces an earlier one, and what a later file deletes is not read.
    Later files come first, so that one bit for each PMID is all that is remembered.
    """
    newer = _Numbers()
    files = [path]
    if path.is_dir():
        files = sorted((f for f in walk_tree(path) if kind_suffix(f) == ".xml"), reverse=True)
    for file in files:
        parse = functools.partial(_newest, newer=newer)
        yield from read_one(file, parse, root=None, options=options, rejects=rejects)


def read_nbib(path: Path, *, options: ReadOptions, rejects: RejectSink) -> Iterator[Document]:
    """Records of .nbib files, as PubMed's search exports them; the id is the PMID."""
    return read_each(path, _parse_nbib, (".nbib",), options=options, rejects=rejects)


class _Numbers:
    """A set of whole numbers as bits: 5 MB for all of PubMed."""

    def __init__(self) -> None:
        self._bits = bytearray()

    def add(self, number: int) -> bool:
        """Whether the number is new."""
        place, bit = number >> 3, 1 << (number & 7)
        if place >= len(self._bits):
            self._bits.extend(bytes(place + 1 - len(self._bits)))
        is_new = not self._bits[place] & bit
        self._bits[place] |= bit
        return is_new


def _newest(
    file: Path, options: ReadOptions, rejects: RejectSink, *, newer: _Numbers
) -> Iterator[Document]:
    """The articles of one file that neither it nor a newer one replaces or deletes."""
    articles: dict[int, Document] = {}
    deleted: set[int] = set()
    with open_bytes(file) as stream:
        for element in elements(stream, ("PubmedArticle", "PubmedBookArticle", "DeleteCitation")):
            if element.tag == "DeleteCitation":
                deleted.update(filter(None, map(_number, descendants(element, "PMID"))))
                continue
            pmid = _number(next(descendants(element, "PMID"), None))
            if pmid is None:
                rejects.add(file, element.sourceline, "missing PMID")
            else:
                articles[pmid] = _article(element, pmid, options.domain)
    for pmid in deleted:
        newer.add(pmid)
    for pmid, document in articles.items():
        if newer.add(pmid):
            yield document


def _number(element: Element | None) -> int | None:
    text = text_of(element).strip()
    return int(text) if text.isascii() and text.isdigit() and int(text) < _MAX_PMID else None


def _article(element: Element, pmid: int, domain: str) -> Document:
    """One article: the abstract by its labelled parts, and what a filter may ask for."""
    citation = child(element, "MedlineCitation")
    article = child(citation, "Article")
    if article is None:  # books
        article = child(element, "BookDocument")
    metadata: dict[str, MetadataValue] = {"pmid": pmid}
    title = abstract = ""
    if article is not None:
        title = text_of(child(article, "ArticleTitle")) or text_of(
            child(article, "VernacularTitle")
        )
        abstract = "\n".join(_abstract(article))
        date = next(descendants(article, "PubDate"), None)
        year = _YEAR.search(text_of(child(date, "Year")) or text_of(child(date, "MedlineDate")))
        metadata["year"] = int(year[0]) if year else None
        metadata["journal"] = one_line(text_of(child(article, "Journal", "Title")))
        metadata["language"] = _joined(descendants(article, "Language"))
        metadata["publication_types"] = _joined(descendants(article, "PublicationType"))
    metadata["mesh"] = _joined(descendants(element, "DescriptorName"))
    metadata["keywords"] = _joined(descendants(element, "Keyword"))
    metadata |= _identifiers(element)
    given = {name: value for name, value in metadata.items() if value not in (None, "")}
    return Document(str(pmid), abstract, one_line(title), domain, given)


def _joined(found: Iterator[Element]) -> str:
    return "; ".join(one_line(text_of(one)) for one in found)


def _identifiers(element: Element) -> dict[str, MetadataValue]:
    """DOI and PMC id of the article itself: those of its references stand below it too."""
    found: dict[str, MetadataValue] = {}
    for one in descendants(element, "ArticleId", "ELocationID"):
        kind = one.get("IdType") or one.get("EIdType", "")
        is_own = not any(name_of(above) == "Reference" for above in one.iterancestors())
        if is_own and kind in ("doi", "pmc"):
            found.setdefault(kind, one_line(text_of(one)))
    return found


def _abstract(article: Element) -> Iterator[str]:
    for part in descendants(article, "AbstractText"):
        text = one_line(text_of(part))
        label = part.get("Label", "")
        if text:
            yield f"{label}: {text}" if label and label != "UNLABELLED" else text


_NBIB_FIELDS = {"JT": "journal", "LA": "language"}
_NBIB_LISTS = {"MH": "mesh", "PT": "publication_types"}


def _parse_nbib(file: Path, options: ReadOptions, rejects: RejectSink) -> Iterator[Document]:
    for line, record in _nbib_records(file, rejects):
        pmid = record.get("PMID", [""])[0]
        if not pmid.isdigit():
            rejects.add(file, line, "missing PMID")
            continue
        metadata: dict[str, MetadataValue] = {"pmid": int(pmid)}
        year = _YEAR.search(record.get("DP", [""])[0])
        metadata |= {"year": int(year[0])} if year else {}
        metadata |= {name: record[tag][0] for tag, name in _NBIB_FIELDS.items() if tag in record}
        lists = {name: record[tag] for tag, name in _NBIB_LISTS.items() if tag in record}
        metadata |= {name: "; ".join(values) for name, values in lists.items()}
        for identifier in (*record.get("LID", []), *record.get("AID", [])):
            if identifier.endswith("[doi]"):
                metadata["doi"] = identifier.removesuffix("[doi]").strip()
        title, abstract = (record.get(tag, [""])[0] for tag in ("TI", "AB"))
        yield Document(pmid, abstract, title, options.domain, metadata)


def _nbib_records(file: Path, rejects: RejectSink) -> Iterator[tuple[int, dict[str, list[str]]]]:
    """(First line, tag -> values); a line that begins with six blanks goes on with the last one."""
    record: dict[str, list[str]] = {}
    first, tag = 0, ""
    for number, raw in read_lines(file):
        try:
            line = raw.decode("utf-8").rstrip()
        except UnicodeDecodeError as error:
            rejects.add(file, number, f"not UTF-8: {error.reason} at byte {error.start}")
            continue
        if line[4:6] == "- ":
            tag = line[:4].strip()
            if tag == "PMID" and record:
                yield first, record
                record = {}
            first = first if record else number
            record.setdefault(tag, []).append(line[6:].strip())
        elif line.startswith("      ") and tag in record:
            record[tag][-1] += f" {line.strip()}"
    if record:
        yield first, record
