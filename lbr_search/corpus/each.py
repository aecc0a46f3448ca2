"""One file after the other: ids below a folder, and what is wrong with a file put on record."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from lbr_search.corpus.compressed import SourceFile, kind_suffix, open_bytes
from lbr_search.corpus.records import RowError, check_document
from lbr_search.corpus.walk import walk_tree
from lbr_search.errors import CorpusError
from lbr_search.protocols import ReadOptions, RejectSink
from lbr_search.types import Document

Parse = Callable[[Path, ReadOptions, RejectSink], Iterable[Document]]
"""One file -> its documents. The id of an only document is the file's name, that of a part of a
file begins with the name and ``::``, and any other is the document's own (an accession number)."""

MAX_FILE_BYTES = 256_000_000
"""Files that are read whole (not line by line, not as a stream) may be at most so large."""

_GUESS_BYTES = 65_536
_LINES_BYTES = 1 << 20
_LINES_OF_AN_ENCODING = 2
"""So many lines that are not UTF-8 make a file of another encoding."""
_WIDE = ("utf_16_le", "utf_16_be")
"""In which English holds NUL bytes."""
_ENCODINGS = (
    *("cp1252", "cp1250", "cp1251", "koi8_r", "cp1253", "cp1254", "cp1255", "cp1256"),
    *("cp932", "euc_jp", "iso2022_jp", "gb18030", "big5", "cp949"),
)
"""In use; of the hundred that Python knows, some fit any bytes."""


def read_each(
    path: Path,
    parse: Parse,
    suffixes: tuple[str, ...],
    *,
    options: ReadOptions,
    rejects: RejectSink,
) -> Iterator[Document]:
    """The documents of a file, or of every file below a folder whose name ends in a suffix.

    A suffix may be followed by that of a compression. What is wrong with a file is put on record,
    and the rest goes on.
    """
    if path.is_dir():
        for file in walk_tree(path):
            if kind_suffix(file) in suffixes:
                yield from read_one(file, parse, root=path, options=options, rejects=rejects)
    else:
        yield from read_one(path, parse, root=None, options=options, rejects=rejects)


def read_one(
    file: Path, parse: Parse, *, root: Path | None, options: ReadOptions, rejects: RejectSink
) -> Iterator[Document]:
    """The documents of one file, called after its path below `root`, if one is given."""
    seen: set[str] = set()
    try:
        for parsed in parse(file, options, rejects):
            document = parsed if root is None else rebased(parsed, file, root)
            try:
                check_document(document)
                if document.doc_id in seen:
                    raise RowError(f"repeated id: {document.doc_id!r}")
            except RowError as error:
                rejects.add(file, None, str(error))
                continue
            seen.add(document.doc_id)
            yield document
    except RowError as error:
        rejects.add(file, None, str(error))
    except OSError as error:
        rejects.add(file, None, f"unreadable: {error.strerror or error}")
    except CorpusError as error:
        rejects.add(file, None, f"damaged: {error.message.splitlines()[0]}")


def rebased(document: Document, file: Path, root: Path) -> Document:
    """`document` with the id that its file has below `root`, and that path as metadata."""
    relative = file.relative_to(root).as_posix()
    doc_id = document.doc_id
    if doc_id == file.name:
        doc_id = relative
    elif doc_id.startswith(f"{file.name}::"):
        doc_id = relative + doc_id[len(file.name) :]
    else:
        doc_id = f"{relative}::{doc_id}"
    title = document.title
    if title == file.name or title.startswith(f"{file.name} "):  # source code: the path tells more
        title = relative + title[len(file.name) :]
    return dataclasses.replace(
        document, doc_id=doc_id, title=title, metadata={**document.metadata, "path": relative}
    )


def read_whole(file: Path) -> bytes:
    """The bytes of a file that a library needs at once.

    Raises:
        RowError: it is larger than `MAX_FILE_BYTES`.
    """
    size = file.stat().st_size
    if size > MAX_FILE_BYTES:
        raise RowError(f"too large: {size:,} bytes, at most {MAX_FILE_BYTES:,}")
    with SourceFile(file) as opened:
        return opened.readall()


def decoded(data: bytes) -> str:
    """Text of UTF-8, or of UTF-16 and UTF-32 that begin with their mark; line ends become LF.

    Raises:
        RowError: another encoding, or not text at all.
    """
    marks = {b"\xff\xfe\x00\x00": "utf-32", b"\x00\x00\xfe\xff": "utf-32"}
    marks |= {b"\xff\xfe": "utf-16", b"\xfe\xff": "utf-16"}
    encoding = next((name for mark, name in marks.items() if data.startswith(mark)), "utf-8-sig")
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError as error:
        raise RowError(f"not UTF-8: {error.reason} at byte {error.start}") from error
    if "\0" in text:
        raise RowError("binary: it holds NUL characters")
    return text.replace("\r\n", "\n").replace("\r", "\n")


def detected(data: bytes) -> tuple[str, str]:
    """Text as `decoded`, else in the encoding that its bytes fit best, and that encoding.

    Returns:
        The text, and "" or the Python name of an encoding that was guessed.

    Raises:
        RowError: no encoding of text fits.
    """
    try:
        return decoded(data), ""
    except RowError as error:
        encoding = _guess(data)
        if encoding is None:
            raise
        try:
            text = data.decode(encoding)
        except UnicodeDecodeError:  # only the beginning fits
            raise error from None
    return text.replace("\r\n", "\n").replace("\r", "\n"), encoding


def encoding_of(path: Path) -> str:
    """The encoding of a file that is read line by line, guessed from its first megabyte.

    "" = UTF-8, but for lines that are told apart as they are read.

    Raises:
        CorpusError: it is UTF-16 or UTF-32, whose lines are not told apart by bytes; or as
            `compressed.open_bytes`.
    """
    n_bytes_before = SourceFile.n_bytes_read
    with open_bytes(path) as stream:
        data = stream.read(_LINES_BYTES)
    SourceFile.n_bytes_read = n_bytes_before  # all is still to be read
    if data.startswith((b"\xff\xfe", b"\xfe\xff", b"\0\0\xfe\xff")) or _guess_wide(data):
        raise CorpusError(
            f"{path} is UTF-16 or UTF-32; tables and lines are read as UTF-8.",
            f"iconv -f utf-16 -t utf-8 {path} > NEW, and give that file",
        )
    whole = data[: data.rfind(b"\n") + 1] if len(data) == _LINES_BYTES else data
    foreign = [line for line in whole.splitlines() if not line.isascii()]
    broken = [line for line in foreign if not _is_utf8(line)]
    # one line alone, or some beside others that are UTF-8, are mistakes: lines are judged singly
    if len(broken) < _LINES_OF_AN_ENCODING or len(broken) < len(foreign):
        return ""
    return _guess(whole) or ""


def _is_utf8(line: bytes) -> bool:
    try:
        line.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


def _guess_wide(data: bytes) -> bool:
    return b"\0" in data and _guess(data) is not None


def _guess(data: bytes) -> str | None:
    import charset_normalizer

    known = _WIDE if b"\0" in data else _ENCODINGS
    best = charset_normalizer.from_bytes(data[:_GUESS_BYTES], cp_isolation=list(known)).best()
    if best is None or best.encoding not in known:
        return None
    if any(not one.isprintable() and not one.isspace() for one in str(best)):
        return None  # bytes of no text fit some encoding too, but give control characters
    # what is the same text in both is called by the name that more people know
    is_western = "cp1252" in (best.encoding, *best.could_be_from_charset)
    return "cp1252" if is_western else str(best.encoding)
