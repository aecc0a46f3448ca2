"""Queries as sources: rows of a database, nothing written to it, no password said."""

from __future__ import annotations

import sqlite3

import pytest

from lbr_search.corpus.detect import detect_file, detect_reader
from lbr_search.corpus.formats.sql import read_sql
from lbr_search.corpus.rejects import Rejects
from lbr_search.errors import CorpusError, MissingExtraError
from lbr_search.ingest import build_index
from lbr_search.protocols import ReadOptions
from lbr_search.upkeep.sync import sync
from tests.conftest import HashEncoder
from tests.written import ROWS, write_query


def read(path, **options):
    rejects = Rejects(None)
    return list(read_sql(path, options=ReadOptions(**options), rejects=rejects)), rejects


def test_rows_are_documents_and_other_columns_metadata(tmp_path):
    """A colon and a percent sign in a query are no parameters; NULL text is put on record."""
    query = "SELECT n.id, title, text, 2.5 AS weight FROM notes n WHERE title NOT LIKE '%:x'"
    documents, rejects = read(write_query(tmp_path, query=query), domain="medical")
    assert [(d.doc_id, d.title, d.text) for d in documents] == ROWS
    assert documents[0].metadata == {"weight": 2.5}
    assert documents[0].domain == "medical"
    assert rejects.by_reason == {"missing text": 1}


def test_columns_are_named_in_the_file_or_by_options(tmp_path):
    path = write_query(tmp_path, text_column="title")
    assert read(path)[0][0].text == ROWS[0][1]
    assert read(path, text_column="text")[0][0].text == ROWS[0][2]


@pytest.mark.parametrize("query", ["DELETE FROM notes", "CREATE TABLE other (a INTEGER)"])
def test_nothing_is_written(tmp_path, query):
    with pytest.raises(CorpusError, match="readonly"):
        read(write_query(tmp_path, query=query))
    with sqlite3.connect(tmp_path / "notes.db") as database:
        assert database.execute("SELECT count(*) FROM notes").fetchone() == (3,)
    database.close()


def test_rows_are_streamed(tmp_path):
    """A query without end gives its first rows at once."""
    query = (
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n)"
        " SELECT i AS id, 'text ' || i AS text FROM n"
    )
    documents = read_sql(
        write_query(tmp_path, query=query), options=ReadOptions(), rejects=Rejects(None)
    )
    assert [next(documents).doc_id for _ in range(3)] == ["1", "2", "3"]
    documents.close()


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"url": "no url"}, "none of SQLAlchemy"),
        ({"url": "sqlite:///absent.db"}, "absent.db, which does not exist"),
        ({"url": "nobase://host/x"}, "'nobase', which SQLAlchemy does not know"),
        ({"url": "sqlite:///${LBR_NO_SUCH_VARIABLE}"}, "LBR_NO_SUCH_VARIABLE, which is not set"),
        ({"query": "SELECT nowhere FROM notes"}, "no such column: nowhere"),
        ({"query": "SELECT text FROM notes"}, "no column of ids"),
        ({"query": "SELECT id FROM notes"}, "no column that looks like text"),
        ({"text_column": "txt"}, "no column 'txt'"),
        ({"querry": "SELECT 1"}, "unknown key 'querry': use query"),
    ],
)
def test_mistakes_are_named(tmp_path, values, said):
    with pytest.raises(CorpusError, match=said):
        read(write_query(tmp_path, **values))
    assert not (tmp_path / "absent.db").exists()


def test_a_password_comes_from_the_environment_and_is_never_said(tmp_path, monkeypatch):
    monkeypatch.setenv("LBR_TEST_PASSWORD", "s3cret")
    for url in ("postgresql://me:${LBR_TEST_PASSWORD}@127.0.0.1:1/x", "://${LBR_TEST_PASSWORD}"):
        with pytest.raises((CorpusError, MissingExtraError)) as caught:
            read(write_query(tmp_path, url=url))
        assert "s3cret" not in f"{caught.value} {caught.value.fix}"
        (tmp_path / "notes.db").unlink()


def test_a_missing_driver_is_named(tmp_path):
    with pytest.raises(MissingExtraError, match="'pymssql', which is not installed"):
        read(write_query(tmp_path, url="mssql+pymssql://me@host/x"))


def test_queries_of_a_folder_are_not_asked(tmp_path):
    """A repository of other people must not open connections."""
    path = write_query(tmp_path)
    assert detect_reader(path) == "sql"
    assert detect_file(path) is None


def test_sync_asks_again(tmp_path):
    """The rows of a query change while its file stays."""
    index, encoder = tmp_path / "index", HashEncoder()
    path = write_query(tmp_path, query="SELECT * FROM notes WHERE text IS NOT NULL")
    assert build_index([path], index, encoder=encoder).build.n_documents == 2
    with sqlite3.connect(tmp_path / "notes.db") as database:
        database.execute("INSERT INTO notes VALUES (9, 'New', 'a new text', NULL)")
        database.execute("DELETE FROM notes WHERE id = 1")
    database.close()
    report = sync(index, encoder=encoder)
    assert report.build is not None
    assert (report.build.n_added, report.build.n_deleted, report.build.n_encoded) == (1, 1, 1)
