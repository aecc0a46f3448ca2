"""What a query gives, from any database that SQLAlchemy knows: PostgreSQL, MySQL, Oracle ...

The source is a file NAME.sql.toml, which says where the rows are and which columns they have:

    url = "postgresql+psycopg://reader:${PAPERS_PASSWORD}@db.example.org/papers"
    query = "SELECT id, title, abstract FROM papers"
    text_column = "abstract"

``${NAME}`` stands for a variable of the environment: neither file nor index holds a password.
"""

from __future__ import annotations

import contextlib
import dataclasses
import decimal
import os
import re
import tomllib
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lbr_search.corpus.records import RowConverter, choose_columns
from lbr_search.errors import CorpusError, MissingExtraError
from lbr_search.protocols import ReadOptions, RejectSink
from lbr_search.registry import nearest
from lbr_search.types import Document

if TYPE_CHECKING:
    from sqlalchemy import URL, Connection

SQL_SUFFIX = ".sql.toml"
_COLUMNS = ("id_column", "title_column", "text_column")
_KEYS = ("url", "query", *_COLUMNS)
_VARIABLE = re.compile(r"\$\{(\w+)\}")
_ROWS_AT_ONCE = 1_000
_READ_ONLY = {
    "sqlite": "PRAGMA query_only = ON",
    "mysql": "SET TRANSACTION READ ONLY",
    "mariadb": "SET TRANSACTION READ ONLY",
    "postgresql": "SET TRANSACTION READ ONLY",
    "oracle": "SET TRANSACTION READ ONLY",
}
"""Said first, by database; others are rolled back at the end, as these are."""


@dataclass(frozen=True, slots=True)
class _Query:
    """What a file says."""

    url: URL
    query: str
    options: ReadOptions


def read_sql(path: Path, *, options: ReadOptions, rejects: RejectSink) -> Iterator[Document]:
    """The rows of a query (NAME.sql.toml: url, query, columns), streamed, in one transaction.

    Nothing is written to the database: the transaction is read-only where it can be told so, and
    is rolled back. Such a file is read when it is named itself, never as one of a folder.

    Raises:
        CorpusError: the file, a variable, the database, the query or a column is wrong; names no
            password.
        MissingExtraError: SQLAlchemy or the driver of the database is not installed.
    """
    asked = _load(path, options)
    with _connected(path, asked.url) as connection:
        yield from _rows(path, asked, connection, rejects)


def _rows(
    path: Path, asked: _Query, connection: Connection, rejects: RejectSink
) -> Iterator[Document]:
    limits = connection.execution_options(stream_results=True, yield_per=_ROWS_AT_ONCE)
    # exec_driver_sql: a colon in a query of the user is no parameter of ours
    found = limits.exec_driver_sql(asked.query)
    if not found.returns_rows:
        raise CorpusError(f"the query of {path} gives no rows.", "write a SELECT")
    names = list(found.keys())
    columns = choose_columns(names, asked.options, file=path)
    if columns.id is None:
        raise CorpusError(
            f"the query of {path} gives no column of ids.\n  columns  {', '.join(names)}",
            'select one as "id", or name it with id_column: the order of rows may change',
        )
    converter = RowConverter(path, columns, domain=asked.options.domain, rejects=rejects)
    for number, row in enumerate(found.mappings(), start=1):
        document = converter.convert(_plain(row), number)
        if document is not None:
            yield document


def _plain(row: Mapping[Any, Any]) -> dict[str, object]:
    """Values as other readers give them: no bytes, ids that are numbers or strings."""
    kept = (item for item in row.items() if not isinstance(item[1], bytes | bytearray | memoryview))
    return {name: _plain_value(value) for name, value in kept}


def _plain_value(value: object) -> object:
    if isinstance(value, uuid.UUID):
        return str(value)
    if isinstance(value, decimal.Decimal):
        is_whole = value.is_finite() and value == value.to_integral_value()
        return int(value) if is_whole else float(value)
    return value


@contextlib.contextmanager
def _connected(path: Path, url: URL) -> Iterator[Connection]:
    """A connection that changes nothing; what the database says becomes a CorpusError."""
    import sqlalchemy

    shown = url.render_as_string(hide_password=True)
    try:
        engine = sqlalchemy.create_engine(url, poolclass=sqlalchemy.NullPool)
    except sqlalchemy.exc.NoSuchModuleError as error:
        raise CorpusError(
            f"{path} names the database {url.drivername!r}, which SQLAlchemy does not know.",
            "write e.g. postgresql+psycopg, mysql+pymysql, oracle+oracledb, sqlite; others need "
            "their package",
        ) from error
    except ModuleNotFoundError as error:
        raise MissingExtraError(
            f"{shown} needs the driver {error.name!r}, which is not installed.",
            f"pip install {error.name}",
        ) from error
    try:
        with engine.connect() as connection:
            first = _READ_ONLY.get(url.get_backend_name())
            if first is not None:
                connection.exec_driver_sql(first)
            try:
                yield connection
            finally:
                connection.rollback()
    except sqlalchemy.exc.SQLAlchemyError as error:
        said = str(getattr(error, "orig", None) or error).strip()
        if url.password:
            said = said.replace(str(url.password), "***")
        raise CorpusError(
            f"{shown} does not answer the query of {path}:\n  {said}",
            f"correct url and query in {path}",
        ) from error
    finally:
        engine.dispose()


def _load(path: Path, options: ReadOptions) -> _Query:
    try:
        values = tomllib.loads(path.read_text("utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise CorpusError(f"{path} cannot be read: {error}.", f"edit {path}") from error
    unknown = (name for name in values if name not in _KEYS)
    mistakes = [f"unknown key {name!r}: {nearest(name, list(_KEYS))}" for name in unknown]
    mistakes += [f"{name!r} is missing" for name in ("url", "query") if name not in values]
    mistakes += [
        f"{name!r} is no string" for name in _KEYS if not isinstance(values.get(name, ""), str)
    ]
    if mistakes:
        raise CorpusError(
            f"{path} is no description of a query:\n  " + "\n  ".join(mistakes),
            f"edit {path}: url, query, and where needed {', '.join(_COLUMNS)}",
        )
    chosen = dataclasses.replace(
        options,
        id_column=options.id_column or values.get("id_column"),
        title_column=options.title_column or values.get("title_column"),
        text_column=options.text_column or values.get("text_column"),
    )
    return _Query(_url(path, values["url"]), values["query"], chosen)


def _url(path: Path, template: str) -> URL:
    try:
        import sqlalchemy
    except ModuleNotFoundError as error:
        raise MissingExtraError(
            "queries need the package 'sqlalchemy', which is not installed.",
            'pip install "lbr-search[sql]"',
        ) from error
    absent = [name for name in _VARIABLE.findall(template) if name not in os.environ]
    if absent:
        raise CorpusError(
            f"{path} needs the environment variable {absent[0]}, which is not set.",
            f"export {absent[0]}=...",
        )
    try:
        url = sqlalchemy.make_url(_VARIABLE.sub(lambda found: os.environ[found[1]], template))
    except (sqlalchemy.exc.ArgumentError, ValueError):  # may hold the password: not chained
        raise CorpusError(
            f"the url of {path} is none of SQLAlchemy.",
            "write DIALECT+DRIVER://USER:${PASSWORD}@HOST/DATABASE; in a password, "
            "percent-encode @ : / %",
        ) from None
    if url.get_backend_name() != "sqlite" or url.database in (None, "", ":memory:"):
        return url
    database = path.parent / str(url.database)  # SQLite would make an empty one
    if not database.is_file():
        raise CorpusError(f"{path} names {database}, which does not exist.", f"edit {path}")
    return url.set(database=str(database))
