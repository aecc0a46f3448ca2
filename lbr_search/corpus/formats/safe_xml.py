"""XML without surprises: a stream of elements, nothing fetched, no entity expanded, memory bounded.

Entities are the danger of XML: a few lines can expand to gigabytes or read a file of the machine.
Here no DTD is loaded and none is resolved; a named character of HTML (``&alpha;``) becomes that
character, and a document that refers to an entity of its own is refused.
"""

from __future__ import annotations

import html.entities
from collections.abc import Iterator
from typing import IO, Any

from lbr_search.corpus.records import RowError
from lbr_search.errors import MissingExtraError

Element = Any
"""An element of lxml, which has no types."""

_SAFE = {
    "resolve_entities": False,
    "no_network": True,
    "load_dtd": False,
    "huge_tree": False,
    "remove_comments": True,
    "remove_pis": True,
}
"""Of every parser here."""

NOTHING: frozenset[str] = frozenset()


def etree() -> Any:  # noqa: ANN401 - lxml has no types
    """The XML library.

    Raises:
        MissingExtraError: it is not installed.
    """
    try:
        from lxml import etree as library
    except ModuleNotFoundError as error:
        raise MissingExtraError(
            "XML files need the package 'lxml', which is not installed.",
            'pip install "lbr-search[docs]"',
        ) from error
    return library


def elements(stream: IO[bytes], tags: tuple[str, ...]) -> Iterator[Element]:
    """Elements of some local names as they end; each is emptied when the next one is asked for.

    Raises:
        RowError: the file is not well-formed, or nested deeper than 256.
    """
    library = etree()
    wanted = [f"{{*}}{tag}" for tag in tags]
    parser = library.iterparse(stream, events=("end",), tag=wanted, **_SAFE)
    try:
        for _, element in parser:
            yield element
            element.clear(keep_tail=True)
            while element.getprevious() is not None:  # what came before stays in the tree else
                del element.getparent()[0]
    except library.XMLSyntaxError as error:
        raise RowError(f"broken XML: {error.msg}") from error


def root_of(data: bytes) -> Element:
    """The root of a whole XML document; refusals as `elements`.

    Raises:
        RowError: it is not well-formed.
    """
    library = etree()
    parser = library.XMLParser(**_SAFE)
    try:
        root = library.fromstring(data, parser)
    except (library.XMLSyntaxError, ValueError) as error:
        raise RowError(f"broken XML: {str(error).splitlines()[0]}") from error
    return root


def name_of(element: Element) -> str:
    """The local name of an element; "" of an entity reference."""
    tag = element.tag
    return tag.rpartition("}")[2] if isinstance(tag, str) else ""


def text_of(
    element: Element | None,
    *,
    without: frozenset[str] = NOTHING,
    apart: frozenset[str] = NOTHING,
) -> str:
    """All text below an element, as it stands.

    Args:
        element: None = no text.
        without: names of elements that are left out, with what is below them.
        apart: names of elements that blanks are put around: paragraphs, cells, line breaks. Without
            them the last word of one is joined to the first of the next.

    Raises:
        RowError: it refers to an entity that the document itself declares, or that none does.
    """
    return "" if element is None else "".join(_pieces(element, without, apart))


def child(element: Element | None, *names: str) -> Element | None:
    """The first descendant by a path of local names."""
    for name in names:
        if element is None:
            return None
        element = next((one for one in element if name_of(one) == name), None)
    return element


def descendants(element: Element, *names: str) -> Iterator[Element]:
    """All elements of some local names below, in order."""
    return (one for one in element.iter() if name_of(one) in names)


def _pieces(element: Element, without: frozenset[str], apart: frozenset[str]) -> Iterator[str]:
    yield element.text or ""
    for one in element:
        name = name_of(one)
        if not name:
            yield character(one)
        elif name not in without:
            blank = " " if name in apart else ""
            yield blank
            yield from _pieces(one, without, apart)
            yield blank
        yield one.tail or ""


def character(entity: Element) -> str:
    """What an entity reference stands for.

    Raises:
        RowError: it is not a character of HTML, or the document declares it itself.
    """
    name = getattr(entity, "name", "")
    known: str | None = html.entities.html5.get(f"{name};")
    declared = entity.getroottree().docinfo.internalDTD
    own = {one.name for one in declared.iterentities()} if declared is not None else set()
    if known is None or name in own:
        raise RowError(f"XML entity: &{name}; is not resolved, for safety")
    return known
