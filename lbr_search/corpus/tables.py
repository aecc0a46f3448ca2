"""Tables -> documents: csv, tsv and Parquet. One column is the text, others become metadata."""

from __future__ import annotations

import csv
import logging
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from lbr_search.corpus.compressed import SourceFile, count_read, read_lines
from lbr_search.corpus.each import encoding_of
from lbr_search.corpus.records import RowConverter, choose_columns
from lbr_search.errors import CorpusError
from lbr_search.protocols import ReadOptions, RejectSink
from lbr_search.types import Document

logger = logging.getLogger(__name__)

_FIELD_LIMIT_CHARS = 2**31 - 1  # the largest that fits a C long everywhere; default is 131,072
_PARQUET_BATCH_ROWS = 256
_INT = re.compile(r"-?(?:0|[1-9]\d{0,17})")  # 18 digits always fit 64 bits
_FLOAT = re.compile(r"[-+]?(?:(?:0|[1-9]\d*)(?:\.\d*)?|\.\d+)(?:[eE][-+]?\d{1,2})?")
_BOOLS = {"true": True, "false": False}


def read_csv(path: Path, *, options: ReadOptions, rejects: RejectSink) -> Iterator[Document]:
    """A comma-separated table with a header (RFC 4180), plain or compressed.

    A metadata column is int, float or bool when all its values are (the file is read twice for
    that), else a string; empty fields are left out. Where its first megabyte is not UTF-8, the
    encoding is guessed from it, and counted.

    Raises:
        CorpusError: truncated file, missing column, repeated id, a quote that never closes, UTF-16.
    """
    return _read_delimited(path, ",", options, rejects)


def read_tsv(path: Path, *, options: ReadOptions, rejects: RejectSink) -> Iterator[Document]:
    """A tab-separated table with a header; fields with tabs or line ends are quoted as in csv.

    Raises:
        CorpusError: as `read_csv`.
    """
    return _read_delimited(path, "\t", options, rejects)


def read_parquet(path: Path, *, options: ReadOptions, rejects: RejectSink) -> Iterator[Document]:
    """A Parquet file, read in batches of rows; binary columns are left out with a warning.

    Raises:
        CorpusError: not Parquet or damaged, missing column, repeated id.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path) as file:
            names = [field.name for field in file.schema_arrow if not _is_binary(field, path)]
            columns = choose_columns(names, options, file=path)
            converter = RowConverter(path, columns, domain=options.domain, rejects=rejects)
            number = 0
            for batch in file.iter_batches(batch_size=_PARQUET_BATCH_ROWS, columns=names):
                for row in batch.to_pylist():
                    number += 1
                    document = converter.convert(row, number)
                    if document is not None:
                        yield document
        count_read(path)
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise CorpusError(
            f"{path} cannot be read as Parquet: {error}.", f"make or download {path.name} again"
        ) from error


def _is_binary(field: Any, path: Path) -> bool:  # noqa: ANN401 - a pyarrow field
    import pyarrow as pa

    is_binary = pa.types.is_binary(field.type) or pa.types.is_large_binary(field.type)
    if is_binary:
        logger.warning("%s: binary column %s is left out", path, field.name)
    return bool(is_binary)


def _read_delimited(
    path: Path, delimiter: str, options: ReadOptions, rejects: RejectSink
) -> Iterator[Document]:
    encoding = encoding_of(path)
    if encoding:
        rejects.note(path, f"encoding guessed: {encoding}")
    records = _records(path, delimiter, encoding)
    header = _header(path, records)
    if header is None:
        return
    columns = choose_columns(header, options, file=path)
    converter = RowConverter(path, columns, domain=options.domain, rejects=rejects)
    parsers = _column_parsers(path, delimiter, encoding, header, columns.names)
    for line, fields in records:
        problem = fields if isinstance(fields, str) else _field_problem(fields, header)
        if problem is not None:
            rejects.add(path, line, problem)
            continue
        row = dict(zip(header, fields, strict=True))
        for name, parse in parsers.items():
            row[name] = parse(row[name]) if row[name] else None
        document = converter.convert(row, line)
        if document is not None:
            yield document


def delimited_rows(path: Path, rejects: RejectSink) -> Iterator[tuple[int, dict[str, str]]]:
    """(First line, column -> field) of a .csv or .tsv file with a header, fields as they stand.

    Raises:
        CorpusError: as `read_csv`.
    """
    delimiter = "\t" if ".tsv" in path.name.lower() else ","
    records = _records(path, delimiter, encoding_of(path))
    header = _header(path, records) or []
    for line, fields in records:
        problem = fields if isinstance(fields, str) else _field_problem(fields, header)
        if problem is not None:
            rejects.add(path, line, problem)
        else:
            yield line, dict(zip(header, fields, strict=True))


def _records(path: Path, delimiter: str, encoding: str) -> Iterator[tuple[int, list[Any] | str]]:
    """Yield (first line, fields), or (first line, why the record is broken)."""
    csv.field_size_limit(_FIELD_LIMIT_CHARS)
    encoding = encoding or "utf-8"
    lines = (raw.decode(encoding, "surrogateescape") for _, raw in read_lines(path))
    reader = csv.reader(lines, delimiter=delimiter, strict=True)
    while True:
        first = reader.line_num + 1
        try:
            fields = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            if "unexpected end of data" in str(error):
                # all that follows the quote would be one field: never lose that in silence
                raise CorpusError(
                    f"{path}:{first} opens a quote that never closes.",
                    f"edit line {first}: close the quote, or double it where it is text",
                ) from error
            yield first, f"broken quoting: {error} (lines {first} to {reader.line_num})"
        else:
            if fields:
                yield first, fields


def _header(path: Path, records: Iterator[tuple[int, list[Any] | str]]) -> list[str] | None:
    """Column names; one without a name is called after its place."""
    line, fields = next(records, (0, []))
    if not fields:
        return None
    if isinstance(fields, str):
        raise CorpusError(f"{path}:{line} has a broken header: {fields}.", "correct the header")
    header = [name.strip() or f"column_{n}" for n, name in enumerate(fields, start=1)]
    repeated = sorted({name for name in header if header.count(name) > 1})
    if repeated:
        raise CorpusError(
            f"{path} has columns of the same name: {', '.join(repeated)}.", "rename one of them"
        )
    return header


def _field_problem(fields: list[Any], header: list[str]) -> str | None:
    if len(fields) != len(header):
        return f"wrong number of fields: {len(fields)}, the header has {len(header)}"
    if any("\udc80" <= character <= "\udcff" for f in fields for character in _escaped(f)):
        return "not UTF-8"
    return None


def _escaped(field: str) -> str:
    """`field` where it holds bytes that did not decode, else nothing; fast for plain text."""
    try:
        field.encode("utf-8")
    except UnicodeEncodeError as error:
        return field[error.start : error.end]
    return ""


def _column_parsers(
    path: Path, delimiter: str, encoding: str, header: list[str], used: frozenset[str]
) -> dict[str, Callable[[str], object]]:
    """How to read the values of each metadata column: the narrowest type that fits them all."""
    kinds: dict[str, list[str]] = {n: ["int", "float", "bool"] for n in header if n not in used}
    open_names = [(place, name) for place, name in enumerate(header) if name in kinds]
    n_bytes_before = SourceFile.n_bytes_read
    for number, (_, fields) in enumerate(_records(path, delimiter, encoding)):
        if not open_names:
            break
        if number == 0 or isinstance(fields, str) or len(fields) != len(header):
            continue
        for place, name in open_names:
            if fields[place]:
                kinds[name] = [kind for kind in kinds[name] if _FITS[kind](fields[place])]
        open_names = [(place, name) for place, name in open_names if kinds[name]]
    SourceFile.n_bytes_read = n_bytes_before  # the documents are still to be read
    return {name: _PARSERS[left[0] if left else "str"] for name, left in kinds.items()}


_FITS: dict[str, Callable[[str], bool]] = {
    "int": lambda value: _INT.fullmatch(value) is not None,
    "float": lambda value: _FLOAT.fullmatch(value) is not None,
    "bool": lambda value: value.lower() in _BOOLS,
}
_PARSERS: dict[str, Callable[[str], object]] = {
    "int": int,
    "float": float,
    "bool": lambda value: _BOOLS[value.lower()],
    "str": str,
}
