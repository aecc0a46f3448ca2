"""JSON lines, BEIR folders and folders of text -> documents.

Tables (csv, tsv, Parquet) are in `tables.py`, other formats in `formats`, source code in `code`.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from pathlib import Path

from lbr_search.corpus.compressed import COMPRESSIONS, find_compressed, read_lines
from lbr_search.corpus.each import detected, read_one, read_whole
from lbr_search.corpus.language import noted_language
from lbr_search.corpus.outline import markdown_sections, rst_sections
from lbr_search.corpus.records import RowConverter, RowError, choose_columns
from lbr_search.corpus.walk import walk_tree
from lbr_search.errors import CorpusError
from lbr_search.protocols import ReadOptions, RejectSink
from lbr_search.types import Document

MARKDOWN_SUFFIXES = (".md", ".markdown", ".mdx")
TEXT_SUFFIXES = (".txt", ".rst", ".text", *MARKDOWN_SUFFIXES)
_SECTIONS = {**dict.fromkeys(MARKDOWN_SUFFIXES, markdown_sections), ".rst": rst_sections}

_ROWS_TO_KNOW_COLUMNS = 100


def read_jsonl(path: Path, *, options: ReadOptions, rejects: RejectSink) -> Iterator[Document]:
    """One JSON object a line, plain or compressed; other keys become metadata.

    Keys are known from the first 100 objects. Ids are those of the id column, else
    ``file-stem:line``. Blank lines are passed over.

    Raises:
        CorpusError: truncated file, missing column, repeated id.
    """
    objects = read_objects(path, rejects)
    head = list(itertools.islice(objects, _ROWS_TO_KNOW_COLUMNS))
    if not head:
        return
    columns = choose_columns((name for _, row in head for name in row), options, file=path)
    converter = RowConverter(path, columns, domain=options.domain, rejects=rejects)
    for line, row in itertools.chain(head, objects):
        document = converter.convert(row, line)
        if document is not None:
            yield document


def read_objects(path: Path, rejects: RejectSink) -> Iterator[tuple[int, dict[str, object]]]:
    """Yield (line, object) of a JSON-lines file; other lines are rejected.

    Raises:
        CorpusError: the file is missing or truncated.
    """
    for line, raw in read_lines(path):
        if not raw.strip():
            continue
        try:
            row = json.loads(raw.decode("utf-8"))
        except UnicodeDecodeError as error:
            rejects.add(path, line, f"not UTF-8: byte {raw[error.start]:#04x} at {error.start}")
        except json.JSONDecodeError as error:
            rejects.add(path, line, f"broken JSON: {error.msg} at column {error.colno}")
        except (RecursionError, ValueError) as error:  # nested too deep, a number too long
            rejects.add(path, line, f"broken JSON: {error}")
        else:
            if isinstance(row, dict):
                yield line, row
            else:
                rejects.add(path, line, f"not a JSON object: {type(row).__name__}")


def read_beir(path: Path, *, options: ReadOptions, rejects: RejectSink) -> Iterator[Document]:
    """The documents of a BEIR folder: ``corpus.jsonl``, plain or compressed.

    Raises:
        CorpusError: there is no corpus file; as `read_jsonl`.
    """
    corpus = find_compressed(path, "corpus.jsonl")
    if corpus is None:
        raise CorpusError(
            f"{path} holds no corpus.jsonl (nor one ending in {', '.join(COMPRESSIONS)}).",
            "give the folder that holds corpus.jsonl, queries.jsonl and qrels/",
        )
    yield from read_jsonl(corpus, options=options, rejects=rejects)


def read_text_folder(
    path: Path, *, options: ReadOptions, rejects: RejectSink
) -> Iterator[Document]:
    """Every .txt, .md and .rst below a folder (or one such file) as a document.

    The id is the path relative to the folder, the title the first heading, else the file's stem;
    the sections of Markdown and reStructuredText are those of their headings. Hidden files and
    folders, and what ignore files name, are left out.
    """
    root = path if path.is_dir() else path.parent
    for file in walk_files(path, TEXT_SUFFIXES) if path.is_dir() else iter([path]):
        yield from read_one(file, _parse_text, root=root, options=options, rejects=rejects)


def _parse_text(file: Path, options: ReadOptions, rejects: RejectSink) -> Iterator[Document]:
    text, encoding = detected(read_whole(file))
    if not text.strip():
        raise RowError("empty text")
    if encoding:
        rejects.note(file, f"encoding guessed: {encoding}")
    noted = {"encoding": encoding, "language": noted_language(file, text, rejects)}
    find_sections = _SECTIONS.get(file.suffix.lower())
    sections = find_sections(text) if find_sections else ()
    title = sections[0].path[0] if sections else file.stem
    yield Document(
        doc_id=file.name,
        text=text,
        title=title,
        domain=options.domain,
        metadata={name: value for name, value in noted.items() if value},
        sections=sections,
    )


def walk_files(folder: Path, suffixes: tuple[str, ...]) -> Iterator[Path]:
    """Files of `walk_tree` whose name ends in one of `suffixes`.

    Raises:
        CorpusError: a folder cannot be listed.
    """
    return (file for file in walk_tree(folder) if file.suffix.lower() in suffixes)
