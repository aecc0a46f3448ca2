"""Every reader of the registry keeps the CorpusReader contract."""

from __future__ import annotations

import inspect

import pytest

from lbr_search.corpus.detect import detect_reader
from lbr_search.corpus.rejects import Rejects
from lbr_search.errors import CorpusError
from lbr_search.protocols import CorpusReader, ReadOptions
from lbr_search.registry import READERS
from tests.written import source_for


@pytest.mark.parametrize("name", READERS)
def test_readers_keep_the_contract(name, tmp_path):
    """Same documents at each call, unique ids, the given domain, and what is bad is counted."""
    reader: CorpusReader = READERS.resolve(name)
    assert list(inspect.signature(reader).parameters) == ["path", "options", "rejects"]
    source = source_for(name, tmp_path)
    rejects = Rejects(None)
    options = ReadOptions(domain="some-domain")
    documents = list(reader(source, options=options, rejects=rejects))
    assert list(reader(source, options=options, rejects=Rejects(None))) == documents
    assert len(documents) >= 2
    assert len({d.doc_id for d in documents}) == len(documents)
    assert {d.domain for d in documents} == {"some-domain"}
    assert all(d.text and d.title for d in documents)
    assert rejects.n_rejected == (0 if name == "python-stdlib" else 1)


@pytest.mark.parametrize("name", [name for name in READERS if name != "python-stdlib"])
def test_readers_are_detected(name, tmp_path):
    """What a reader reads is recognised as its kind without being told; folders as files of it."""
    source = source_for(name, tmp_path)
    if source.is_file() or name in ("beir", "text", "files"):
        assert detect_reader(source) == name
        return
    assert detect_reader(source) == "files"
    files = [file for file in source.iterdir() if not file.name.startswith("bad")]
    assert {detect_reader(file) for file in files} == {name}


@pytest.mark.parametrize("name", [name for name in READERS if not name.startswith("python")])
def test_readers_take_nothing_from_nothing(name, tmp_path):
    """An empty source gives no documents and no exception; what is no such file is counted."""
    source = source_for(name, tmp_path)
    for file in [source] if source.is_file() else source.rglob("*"):
        if file.is_file():
            file.write_text("")
    rejects = Rejects(None)
    try:
        assert list(READERS.resolve(name)(source, options=ReadOptions(), rejects=rejects)) == []
    except CorpusError:
        # one table, and no folder of them: it says that it is damaged
        assert name in ("parquet", "sql")
