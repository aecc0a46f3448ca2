"""A forgotten document is in no file of the index, and does not come back."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from lbr_search.config import IndexConfig
from lbr_search.encoder.read_texts import text_key, write_read_texts
from lbr_search.errors import CorpusError, IndexFormatError
from lbr_search.index.opened import open_index
from lbr_search.index.verify import verify_index
from lbr_search.ingest import build_index
from lbr_search.upkeep.forget import forget, scan
from lbr_search.upkeep.sync import sync
from tests.hash_cli import run
from tests.tiny import tiny_encoder

CONFIG = IndexConfig(backend="faiss", commit_rows=8, encode_batch=8)
SECRET = "the patient of bed seventeen has a rare disorder of copper metabolism"


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    folder = tmp_path / "tree"
    folder.mkdir()
    for number in range(40):
        (folder / f"note-{number}.txt").write_text(f"ordinary note number {number} on daily work")
    (folder / "patient-17.txt").write_text(f"On that day {SECRET}. " * 20)
    return folder


@pytest.fixture
def index(tree: Path, tmp_path: Path, encoder) -> Path:
    build_index([tree], tmp_path / "index", encoder=encoder, config=CONFIG)
    (tree / "note-3.txt").write_text("changed, so that an older generation and version exist")
    sync(tmp_path / "index", encoder=encoder)
    return tmp_path / "index"


def documents(index: Path) -> set[str]:
    with open_index(index, encoder=None) as opened:
        return set(opened.doc_ids(opened._payload.row_ids[:]))


def test_no_file_holds_a_forgotten_text_or_id(index):
    """Table, texts, terms and records: found there before, and in no file after."""
    held = scan(index, [SECRET.encode(), b"patient-17.txt"])
    assert any(path.startswith("store/") for path in held)
    assert any("payload" in path for path in held)
    assert "sources.json" in held
    report = forget(index, ["patient-17.txt"])
    assert report.is_proved
    assert (report.n_documents, report.n_probes >= 4) == (1, True)
    assert set(report.found_before) >= {path for path in held if path.startswith("store/")}
    assert scan(index, [SECRET.encode(), SECRET[20:50].encode(), b"patient-17.txt"]) == {}
    assert "patient-17.txt" not in documents(index)
    assert len(documents(index)) == 40
    assert verify_index(index).problems == []


def test_the_rest_is_searched_as_before(index, encoder):
    """Vectors, terms and texts of what stays are those that were there."""
    query = "ordinary note number 12 on daily work"
    with open_index(index, encoder=encoder) as opened:
        before = opened.doc_ids(opened.dense(encoder.encode_queries([query]), k=3)[0][0])
    forget(index, ["patient-17.txt", "note-5.txt"])
    with open_index(index, encoder=encoder) as opened:
        rows, _ = opened.dense(encoder.encode_queries([query]), k=3)
        assert opened.doc_ids(rows[0])[0] == before[0] == "note-12.txt"
        assert opened.doc_ids(opened.lexical([query], k=3)[0][0])[0] == "note-12.txt"


def test_it_does_not_come_back(index, tree, tmp_path, encoder):
    """Neither sync nor ingest of the same source bring it, also when its file changes."""
    report = forget(index, ["patient-17.txt"])
    assert report.sources == (tree,)
    (tree / "patient-17.txt").write_text(f"{SECRET}, and more")
    assert not sync(index, encoder=encoder).has_changes
    ingested = build_index([tree], index, encoder=encoder, config=CONFIG)
    assert ingested.n_forgotten == 1
    assert "patient-17.txt" not in documents(index)
    assert scan(index, [SECRET.encode()]) == {}


def test_what_other_documents_hold_too_proves_nothing_and_is_said(index, tree, encoder):
    """A text that stands twice is still there after one of the two is gone: counted, not hidden."""
    (tree / "copy.txt").write_text(f"On that day {SECRET}. " * 20)
    sync(index, encoder=encoder)
    report = forget(index, ["patient-17.txt"])
    assert report.n_shared >= 4
    assert report.is_proved  # the id is in no file
    assert scan(index, [SECRET.encode()]) != {}


def test_unknown_ids_change_nothing(index):
    """A typo is told with the nearest id, and no document is removed."""
    before = documents(index)
    with pytest.raises(IndexFormatError, match=r"no document 'patient-71\.txt'") as caught:
        forget(index, ["note-1.txt", "patient-71.txt"])
    assert caught.value.fix == "use patient-17.txt"
    assert documents(index) == before


def test_a_removal_that_was_cut_off_goes_on(index, monkeypatch):
    """Rows deleted and the process killed before the files went: the same command finishes it."""
    from lbr_search.upkeep import forget as module

    with monkeypatch.context() as patched:
        patched.setattr(module, "_purge", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            forget(index, ["patient-17.txt"])
    assert scan(index, [SECRET.encode()]) != {}
    report = forget(index, ["patient-17.txt"])
    assert report.n_documents == 0
    assert scan(index, [SECRET.encode(), b"patient-17.txt"]) == {}


def test_not_everything_can_be_forgotten(tmp_path, encoder):
    """An index without documents is no index; its folder can be deleted."""
    (tmp_path / "a.jsonl").write_text('{"_id": "only", "text": "one"}\n')
    build_index([tmp_path / "a.jsonl"], tmp_path / "index", encoder=encoder, config=CONFIG)
    with pytest.raises(CorpusError, match="nothing would be left"):
        forget(tmp_path / "index", ["only"])


def test_what_a_query_finds_is_shown_first_and_removed_when_told(tmp_path: Path):
    """`--query` and `--filter` change nothing without --yes; both together narrow each other."""
    rows = [{"_id": f"n{n}", "text": f"daily note {n}", "ward": n % 3} for n in range(9)]
    rows.append({"_id": "secret", "text": SECRET, "ward": 7})
    lines = tmp_path / "notes.jsonl"
    lines.write_text("".join(json.dumps(row) + "\n" for row in rows))
    index = tmp_path / "index"
    assert run("ingest", lines, "--index", index, "--encoder", "hash:a").code == 0

    shown = run("forget", "--index", index, "--query", "copper metabolism", "-k", 1)
    assert shown.code == 0 and "secret" in shown.out and "--yes removes them" in shown.err
    assert "secret" in documents(index)
    by_ward = run("forget", "--index", index, "--filter", "ward = 2", "--json")
    assert [json.loads(line)["document"] for line in by_ward.out.splitlines()] == ["n2", "n5", "n8"]
    nothing = run("forget", "--index", index, "--filter", "ward = 99", "--yes")
    assert nothing.code == 0 and "nothing was removed" in nothing.err
    for options, message in (
        ((), "nothing to look for"),
        (("n1", "--query", "x"), "goes with neither"),
        (("--filter", "bed = 1"), "bed"),
    ):
        refused = run("forget", "--index", index, *options)
        assert refused.code == 1 and message in refused.err
    assert len(documents(index)) == 10

    command = ("forget", "--index", index, "--query", "note", "--filter", "ward = 2", "--yes")
    done = run(*command, "--json")
    assert done.code == 0 and json.loads(done.out)["n_documents"] == 3
    assert documents(index) == {"n0", "n1", "n3", "n4", "n6", "n7", "secret"}


def test_encoders_that_were_trained_on_a_document_are_named(tmp_path: Path):
    """Trained on it, on others, and without a record: three checkpoints, told apart."""
    lines = tmp_path / "notes.jsonl"
    rows = [
        {"_id": f"n{n}", "title": f"day {n}", "text": f"daily note {n} " * 50} for n in range(3)
    ]
    lines.write_text("".join(json.dumps(row) + "\n" for row in rows))
    index, runs = tmp_path / "index", tmp_path / "runs"
    command = ("ingest", lines, "--index", index, "--encoder", "hash:a", "--chunk-tokens", 40)
    assert run(*command).code == 0
    for name, read in (
        ("a", "day 1 " + "daily note 1 " * 50),
        ("b", "something else"),
        ("c", None),
    ):
        tiny_encoder(runs / name)
        if read is not None:
            write_read_texts(runs / name, [np.array([text_key(read)])])
    done = run("forget", "n1", "--index", index, "--checkpoints", runs)
    assert done.code == 0, done.err
    assert f"the encoder {runs / 'a'} was trained on a forgotten document" in done.err
    assert str(runs / "b") not in done.err
    assert f"1 encoders keep no record of what they read, e.g. {runs / 'c'}" in done.err
