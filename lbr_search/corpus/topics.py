"""TREC topics: the SGML of the early tracks, the XML of later ones, and tab-separated lines."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from lbr_search.corpus.compressed import open_bytes
from lbr_search.corpus.formats.safe_xml import name_of, root_of, text_of
from lbr_search.corpus.records import RowError
from lbr_search.errors import CorpusError
from lbr_search.registry import nearest

TEXT = "text"
"""The field of a topic that is text alone."""
FIRST_FIELDS = ("title", "query", TEXT)
"""What asks where no field is named: the first of these that the topics have."""
_NAMES = {"desc": "description", "narr": "narrative"}
"""SGML tag -> field, where they differ; XML topics write the words out."""
_LABELS = re.compile(r"^\s*(Number|Topic|Description|Narrative)\s*:\s*", re.IGNORECASE)
_TAG = re.compile(r"</?(num|title|desc|narr)\b[^>]*>", re.IGNORECASE)
_TOP = re.compile(r"<top>(.*?)</top>", re.IGNORECASE | re.DOTALL)

Topic = tuple[str, dict[str, str]]
"""Its number, and field -> text."""


def read_topics(path: Path, *, field: str = "") -> dict[str, str]:
    """Topic number -> query, in the order of the file.

    Args:
        path: plain or compressed, UTF-8.
        field: title, description, narrative, or any element of XML topics; several joined by
            ``+``, e.g. ``title+description``. "" = the first of `FIRST_FIELDS` that is there.

    Raises:
        CorpusError: the file is none of the three forms, a topic has no number or no such field,
            or a number stands twice.
        MissingExtraError: the topics are XML, and lxml is not installed.
    """
    if not path.is_file():
        raise CorpusError(f"the topics {path} do not exist.", "check the path of --topics")
    with open_bytes(path) as stream:
        data = stream.read()
    try:
        topics = list(_topics(data))
    except (RowError, UnicodeDecodeError) as error:
        raise CorpusError(
            f"the topics {path} cannot be read: {error}.", "give TREC topics in UTF-8"
        ) from error
    if not topics:
        raise CorpusError(
            f"{path} holds no topics.",
            "give <top> blocks, <topic> elements, or lines of a number, a tab and a query",
        )
    wanted = field.split("+") if field else [_first_field(topics, path)]
    queries: dict[str, str] = {}
    for place, (number, fields) in enumerate(topics, start=1):
        absent = [name for name in wanted if not fields.get(name)]
        if not number:
            problem, fix = f"topic {place} has no number", f"edit {path}"
        elif number in queries:
            problem, fix = f"topic {number} stands twice", f"edit {path}"
        elif absent:
            problem = f"topic {number} has no {', '.join(absent)}"
            fix = f"--topic-field: {nearest(absent[0], fields)}" if fields else f"edit {path}"
        else:
            queries[number] = " ".join(fields[name] for name in wanted)
            continue
        raise CorpusError(f"{path}: {problem}; fields there: {', '.join(fields) or 'none'}.", fix)
    return queries


def _first_field(topics: list[Topic], path: Path) -> str:
    found = next((name for name in FIRST_FIELDS if topics[0][1].get(name)), None)
    if found is None:
        raise CorpusError(
            f"{path}: topics have none of {', '.join(FIRST_FIELDS)}; they have: "
            f"{', '.join(topics[0][1]) or 'no text'}.",
            "name what asks with --topic-field",
        )
    return found


def _topics(data: bytes) -> Iterator[Topic]:
    head = data.lstrip(b"\xef\xbb\xbf \t\r\n")[:2000]
    if b"<top>" in head.lower():
        yield from _sgml(data.decode("utf-8-sig"))
    elif head.startswith(b"<"):
        yield from _xml(data)
    else:
        yield from _lines(data.decode("utf-8-sig"))


def _sgml(text: str) -> Iterator[Topic]:
    """Blocks whose tags need not be closed: a field ends where the next begins."""
    for block in _TOP.findall(text):
        parts = _TAG.split(block)  # what stands before, then name and text in turn
        fields: dict[str, str] = {}
        for name, content in zip(parts[1::2], parts[2::2], strict=True):
            words = " ".join(_LABELS.sub("", content).split())
            if words:
                fields.setdefault(_NAMES.get(name.lower(), name.lower()), words)
        yield fields.pop("num", ""), fields


def _xml(data: bytes) -> Iterator[Topic]:
    for topic in root_of(data).iter("{*}topic"):
        number = topic.get("number") or topic.get("id") or ""
        fields = {name_of(one): " ".join(text_of(one).split()) for one in topic if name_of(one)}
        number = number or fields.pop("number", "") or fields.pop("num", "")
        if not fields:
            fields = {TEXT: " ".join(text_of(topic).split())}
        yield number.strip(), fields


def _lines(text: str) -> Iterator[Topic]:
    for line in text.splitlines():
        number, tab, query = line.partition("\t")
        if line.strip():
            if not tab:
                raise RowError(f"{line[:60]!r} is no number, tab and query")
            yield number.strip(), {TEXT: query.strip()}
