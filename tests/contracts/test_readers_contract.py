"""Every reader of the registry keeps the CorpusReader contract."""

from __future__ import annotations

import inspect
import json
from pathlib import Path

import pytest

from lbr_search.corpus.readers import detect_reader
from lbr_search.corpus.rejects import Rejects
from lbr_search.protocols import CorpusReader, ReadOptions
from lbr_search.registry import READERS

ROWS = [("1", "One", "first text"), ("2", "Two", "second text")]


def source_for(name: str, folder: Path) -> Path:
    """A source of two documents and, where the format allows it, one that must be rejected."""
    json_lines = "".join(
        json.dumps({"_id": i, "title": title, "text": text}) + "\n" for i, title, text in ROWS
    )
    if name == "beir":
        (folder / "corpus.jsonl").write_text(json_lines + "{\n")
        return folder
    if name == "text":
        for doc_id, title, text in ROWS:
            (folder / f"{doc_id}.md").write_text(f"# {title}\n{text}\n")
        (folder / "bad.txt").write_bytes(b"\xff")
        return folder
    if name == "python":
        (folder / "m.py").write_text("def one(): return 1\n\n\ndef two(): return 2\n")
        (folder / "bad.py").write_text("def (\n")
        return folder
    if name == "python-stdlib":
        (folder / "SOURCE.json").write_text('{"reader": "python-stdlib", "modules": ["bisect"]}')
        return folder
    file = folder / f"table.{name}"
    if name == "jsonl":
        file.write_text(json_lines + "{\n")
    elif name == "parquet":
        import pyarrow as pa
        import pyarrow.parquet as pq

        columns = [*zip(*ROWS, strict=True)]
        table = {n: [*c, None] for n, c in zip(("_id", "title", "text"), columns, strict=True)}
        pq.write_table(pa.table(table), file)
    else:
        mark = {"csv": ",", "tsv": "\t"}[name]
        file.write_text("\n".join(mark.join(r) for r in [("_id", "title", "text"), *ROWS, ("3",)]))
    return file


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
    """What a reader reads is recognised as its kind without being told."""
    assert detect_reader(source_for(name, tmp_path)) == name


@pytest.mark.parametrize("name", [name for name in READERS if not name.startswith("python")])
def test_readers_take_nothing_from_nothing(name, tmp_path):
    """An empty source gives no documents and no error: what follows from that is not ours."""
    source = source_for(name, tmp_path)
    if name == "parquet":
        import pyarrow as pa
        import pyarrow.parquet as pq

        pq.write_table(pa.table({"_id": pa.array([], pa.string()), "text": []}), source)
    for file in [source] if source.is_file() and name != "parquet" else source.glob("*"):
        file.unlink() if name == "text" else file.write_text("")
    rejects = Rejects(None)
    assert list(READERS.resolve(name)(source, options=ReadOptions(), rejects=rejects)) == []
    assert rejects.n_rejected == 0
