"""JSON lines, BEIR folders and folders of text -> documents; and which reader fits a path.

Tables (csv, tsv, Parquet) are in `tables.py`, Python source in `python_source.py`.
"""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Iterator
from pathlib import Path

from lbr_search.corpus.compressed import COMPRESSIONS, find_compressed, plain_name, read_lines
from lbr_search.corpus.records import RowConverter, RowError, check_document, choose_columns
from lbr_search.errors import CorpusError
from lbr_search.protocols import ReadOptions, RejectSink
from lbr_search.registry import READERS
from lbr_search.types import Document

TEXT_SUFFIXES = (".txt", ".md")

_READER_OF_SUFFIX = {
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".csv": "csv",
    ".tsv": "tsv",
    ".parquet": "parquet",
    ".txt": "text",
    ".md": "text",
    ".py": "python",
}
_PACKABLE = ("jsonl", "csv", "tsv")
_ROWS_TO_KNOW_COLUMNS = 100
_HEADING = re.compile(r"^ {0,3}#{1,6}[ \t]+(.+?)[ \t]*#*[ \t]*$")
_FENCE = re.compile(r"^ {0,3}(```|~~~)")


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
    """Every .txt and .md below a folder (or one such file) as a document.

    The id is the path relative to the folder, the title the first Markdown heading, else the
    file's stem. Hidden files and folders are left out.
    """
    root = path if path.is_dir() else path.parent
    files = walk_files(path, TEXT_SUFFIXES) if path.is_dir() else iter([path])
    for file in files:
        doc_id = file.relative_to(root).as_posix()
        try:
            text = file.read_bytes().decode("utf-8-sig")
            title = _heading(text) if file.suffix.lower() == ".md" else None
            document = Document(
                doc_id=doc_id,
                text=text,
                title=title or file.stem,
                domain=options.domain,
                metadata={"path": doc_id},
            )
            if not text.strip():
                raise RowError("empty text")
            check_document(document)
        except UnicodeDecodeError as error:
            rejects.add(file, None, f"not UTF-8: {error.reason} at byte {error.start}")
        except OSError as error:
            rejects.add(file, None, f"unreadable: {error.strerror}")
        except RowError as error:
            rejects.add(file, None, str(error))
        else:
            yield document


def walk_files(folder: Path, suffixes: tuple[str, ...]) -> Iterator[Path]:
    """Files below `folder` whose name ends in one of `suffixes`, in a stable order.

    Hidden names, ``__pycache__``, ``site-packages`` and virtual environments are left out, and
    links to folders are not followed.

    Raises:
        CorpusError: a folder cannot be listed.
    """
    try:
        entries = sorted(folder.iterdir(), key=lambda entry: entry.name)
    except OSError as error:
        raise CorpusError(
            f"{folder} cannot be listed: {error.strerror}.", f"check it with ls -ld {folder}"
        ) from error
    for entry in entries:
        if entry.name.startswith(".") or entry.name in {"__pycache__", "site-packages"}:
            continue
        if entry.is_dir():
            if not entry.is_symlink() and not (entry / "pyvenv.cfg").is_file():
                yield from walk_files(entry, suffixes)
        elif entry.suffix.lower() in suffixes and entry.is_file():
            yield entry


def detect_reader(path: Path) -> str:
    """Name in `registry.READERS` of the reader that fits `path`.

    A folder with corpus.jsonl is BEIR; any other folder is a Python tree when it holds at least
    as many .py files as .txt and .md files, else a folder of text.

    Raises:
        CorpusError: the path is missing or of no known kind; lists the kinds.
    """
    if not path.exists():
        raise CorpusError(f"{path} does not exist.", "check the path")
    if path.is_dir():
        return _detect_folder(path)
    inner = Path(plain_name(path))
    name = _READER_OF_SUFFIX.get(inner.suffix.lower())
    if name is None or (inner.name != path.name and name not in _PACKABLE):
        raise _unknown_kind(path)
    return name


def _detect_folder(path: Path) -> str:
    if find_compressed(path, "corpus.jsonl") is not None:
        return "beir"
    n_python = sum(1 for _ in walk_files(path, (".py",)))
    n_text = sum(1 for _ in walk_files(path, TEXT_SUFFIXES))
    if n_python + n_text == 0:
        raise _unknown_kind(path)
    return "python" if n_python >= n_text else "text"


def _unknown_kind(path: Path) -> CorpusError:
    kinds = "\n".join(f"  {name:14}{entry.about}" for name, entry in READERS.items())
    return CorpusError(
        f"{path} is not a source of a known kind.\n{kinds}",
        f"convert it to one of these; {', '.join(_PACKABLE)} may also end in "
        f"{', '.join(COMPRESSIONS)}",
    )


def _heading(text: str) -> str | None:
    """The first ATX heading outside a code fence."""
    is_fenced = False
    for line in text.splitlines():
        if _FENCE.match(line):
            is_fenced = not is_fenced
        elif not is_fenced and (match := _HEADING.match(line)):
            return match[1]
    return None
