"""Arrow files, Hugging Face datasets on disk, and SQLite databases: rows -> documents."""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import sqlite3
import urllib.parse
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from lbr_search.corpus.compressed import count_read
from lbr_search.corpus.each import read_each
from lbr_search.corpus.guarded import guarded
from lbr_search.corpus.records import RowConverter, RowError, choose_columns
from lbr_search.errors import CorpusError
from lbr_search.protocols import ReadOptions, RejectSink
from lbr_search.types import Document

if TYPE_CHECKING:
    import pyarrow as pa

logger = logging.getLogger(__name__)

ARROW_SUFFIXES = (".arrow", ".feather", ".ipc")
DATASET_FILES = ("state.json", "dataset_dict.json")
"""What `datasets` writes beside the Arrow files of a dataset, or of its splits in folders."""
SQLITE_SUFFIXES = (".sqlite", ".sqlite3", ".db")


def read_arrow(path: Path, *, options: ReadOptions, rejects: RejectSink) -> Iterator[Document]:
    """Arrow files and streams (.arrow, .feather, .ipc), or a folder of them; columns as in Parquet.

    Such a folder is what Hugging Face's `datasets` saves; its caches of mapped columns are skipped.
    """
    # apart: Arrow trusts the offsets of a file, and a damaged one can end the process
    parse_apart = guarded("lbr_search.corpus.formats.columnar:parse_arrow")

    def parse(file: Path, how: ReadOptions, sink: RejectSink) -> Iterator[Document]:
        if file.name.startswith("cache-") and path.is_dir():
            sink.skip(file, "cache of a dataset: its rows are in the data files")
            return
        yield from parse_apart(file, how, sink)

    return read_each(path, parse, ARROW_SUFFIXES, options=options, rejects=rejects)


def read_sqlite(path: Path, *, options: ReadOptions, rejects: RejectSink) -> Iterator[Document]:
    """Every table of a SQLite database (.sqlite, .sqlite3, .db) that has a column of text.

    The id is ``table:`` and the id column, else the row's number; tables without text are skipped.
    """
    return read_each(path, _parse_sqlite, SQLITE_SUFFIXES, options=options, rejects=rejects)


def parse_arrow(file: Path, options: ReadOptions, rejects: RejectSink) -> Iterator[Document]:
    """The rows of one Arrow file or stream.

    Raises:
        RowError: it is damaged.
        CorpusError: a column is missing, or an id repeated.
    """
    import pyarrow as pa

    try:
        with pa.OSFile(str(file)) as source:
            is_file = source.read(6) == b"ARROW1"
            source.seek(0)
            opened = pa.ipc.open_file(source) if is_file else pa.ipc.open_stream(source)
            with opened as reader:
                names = [f.name for f in reader.schema if not _is_binary(f, file)]
                columns = choose_columns(names, options, file=file)
                converter = RowConverter(file, columns, domain=options.domain, rejects=rejects)
                number = 0
                for batch in _batches(reader):
                    batch.validate(full=True)
                    for row in batch.select(names).to_pylist():
                        number += 1
                        document = converter.convert(row, number)
                        if document is not None:
                            yield document
    except (pa.ArrowException, ValueError) as error:
        raise RowError(f"broken Arrow: {str(error).splitlines()[0]}") from error


def _batches(reader: pa.RecordBatchReader) -> Iterator[pa.RecordBatch]:
    if hasattr(reader, "num_record_batches"):
        yield from (reader.get_batch(n) for n in range(reader.num_record_batches))
    else:
        yield from reader


def _is_binary(field: pa.Field, file: Path) -> bool:
    import pyarrow as pa

    is_binary = pa.types.is_binary(field.type) or pa.types.is_large_binary(field.type)
    if is_binary:
        logger.warning("%s: binary column %s is left out", file, field.name)
    return bool(is_binary)


def _parse_sqlite(file: Path, options: ReadOptions, rejects: RejectSink) -> Iterator[Document]:
    # read only, by a URI: a source is never written, not even its journal
    uri = f"file:{urllib.parse.quote(str(file.absolute()))}?mode=ro"
    try:
        with contextlib.closing(sqlite3.connect(uri, uri=True)) as database:
            # bytes that are no UTF-8 cost their row and not the file
            database.text_factory = lambda data: data.decode("utf-8", "surrogateescape")
            names = [
                name
                for (name,) in database.execute(
                    "SELECT name FROM sqlite_master WHERE type = 'table'"
                    " AND name NOT LIKE 'sqlite_%' ORDER BY name"
                )
            ]
            for table in names:
                yield from _table(database, table, file, options, rejects)
        count_read(file)
    except (sqlite3.Error, UnicodeError) as error:
        raise RowError(f"broken SQLite: {error}") from error


def _table(
    database: sqlite3.Connection,
    table: str,
    file: Path,
    options: ReadOptions,
    rejects: RejectSink,
) -> Iterator[Document]:
    quoted = table.replace('"', '""')
    cursor = database.execute(f'SELECT * FROM "{quoted}"')
    names = [column[0] for column in cursor.description]
    try:
        columns = choose_columns(names, options, file=file)
    except CorpusError:
        rejects.skip(file, f"table without a column of text: {table}")
        return
    converter = RowConverter(file, columns, domain=options.domain, rejects=rejects)
    for number, row in enumerate(cursor, start=1):
        values = {n: v for n, v in zip(names, row, strict=True) if not isinstance(v, bytes)}
        document = converter.convert(values, number)
        if document is not None:
            own = document.doc_id if columns.id else number
            yield dataclasses.replace(document, doc_id=f"{table}:{own}")
