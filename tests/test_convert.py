"""Suites from TREC topics and qrels and from ir_datasets, and back to TREC."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from lbr_search.bench.trec_io import read_qrels
from lbr_search.corpus.convert import convert_ir_datasets, write_beir
from lbr_search.corpus.suite import load_suite
from lbr_search.corpus.topics import read_topics
from lbr_search.errors import CorpusError, MissingExtraError
from lbr_search.types import Document
from tests.hash_cli import run

SGML = """
<top>
<num> Number: 301
<title> International Organized Crime

<desc> Description:
Identify organizations that participate in
international criminal activity.

<narr> Narrative:
A relevant document names the organization &amp; the crime.
</top>

<top>
<num> Number: 302 </num>
<title> Topic: Poliomyelitis </title>
<desc> Description:
Is polio under control?
</top>
"""
XML = """<?xml version="1.0"?>
<topics>
  <topic number="1"><query>coronavirus origin</query><question>what is its origin</question></topic>
  <topic number="2"><query>weather &amp; virus</query>
    <question>does heat <b>kill</b></question></topic>
</topics>
"""
PLAIN_XML = '<topics task="trials"><topic number="7">58-year-old\n woman</topic></topics>'


@pytest.fixture
def topics(tmp_path: Path) -> Path:
    return tmp_path / "topics"


def test_topics_of_the_early_tracks(topics: Path):
    """Tags that are never closed, labels, several lines; fields one by one and joined."""
    topics.write_text(SGML)
    titles = {"301": "International Organized Crime", "302": "Poliomyelitis"}
    assert read_topics(topics) == titles
    assert read_topics(topics, field="description") == {
        "301": "Identify organizations that participate in international criminal activity.",
        "302": "Is polio under control?",
    }
    assert read_topics(topics, field="title+description")["302"] == (
        "Poliomyelitis Is polio under control?"
    )


def test_topics_as_xml(topics: Path):
    """Elements as fields, or text alone; entities and inner elements are read."""
    topics.write_text(XML)
    assert read_topics(topics) == {"1": "coronavirus origin", "2": "weather & virus"}
    assert read_topics(topics, field="question")["2"] == "does heat kill"
    topics.write_text(PLAIN_XML)
    assert read_topics(topics) == {"7": "58-year-old woman"}


def test_topics_as_lines(topics: Path):
    """Number, tab, query; a byte order mark and empty lines do not count."""
    topics.write_bytes("\ufeff1\tgout\n\n2\tpinène \r\n".encode())
    assert read_topics(topics) == {"1": "gout", "2": "pinène"}


@pytest.mark.parametrize(
    ("text", "field", "message"),
    [
        ("", "", "holds no topics"),
        ("1 gout", "", "no number, tab and query"),
        ("1\tgout\n1\tflu", "", "topic 1 stands twice"),
        ("1\tgout\n2\t ", "", "topic 2 has no text"),
        (SGML, "naration", "has no naration; fields there: title, description, narrative"),
        (SGML, "narrative", "topic 302 has no narrative"),
        (XML.replace(' number="1"', ""), "", "topic 1 has no number"),
        (XML.replace("query", "disease"), "", "they have: disease, question"),
        (XML[:-12], "", "broken XML"),
        ('<!DOCTYPE t [<!ENTITY a "b">]>\n<t><topic number="1">&a;</topic></t>', "", "entity"),
        ("\x00\xff\t", "", "cannot be read|no number"),
    ],
)
def test_broken_topics_are_refused(topics: Path, text: str, field: str, message: str):
    """What is wrong, at which topic, and what is there instead."""
    topics.write_bytes(text.encode("latin-1"))
    with pytest.raises(CorpusError, match=message):
        read_topics(topics, field=field)


def test_a_suite_of_trec_files(tmp_path: Path, topics: Path):
    """Documents of any kind, topics and qrels become a suite that is known by name."""
    notes = tmp_path / "notes.jsonl"
    rows = [{"_id": f"d{n}", "title": f"t{n}", "text": f"text {n}"} for n in range(3)]
    notes.write_text("".join(json.dumps(row) + "\n" for row in [*rows, {"_id": "bad"}]))
    topics.write_text(SGML)
    qrels = tmp_path / "qrels"
    qrels.write_text("301 0 d1 2\n301 0 d2 0\n302 0 d0 1\n999 0 d0 1\n")
    command = ("corpora", "add", notes, "--name", "news", "--domain", "medical")
    files = ("--topics", topics, "--qrels", qrels, "--topic-field", "title+description")
    outcome = run("--home", tmp_path, *command, *files, "--split", "dev")
    assert outcome.code == 0, outcome.err
    assert "1 documents left out" in outcome.err and "1 of 3 judged queries" in outcome.err
    assert "queries: dev" in outcome.err
    suite = load_suite("news", split="dev", home=tmp_path)
    assert [d.title for d in suite.documents()] == ["t0", "t1", "t2"]
    assert suite.qrels == {"301": {"d1": 2, "d2": 0}, "302": {"d0": 1}}
    assert suite.queries[1].text == "Poliomyelitis Is polio under control?"
    assert suite.domain == "medical" and not suite.warnings
    assert [p.name for p in (tmp_path / "corpora").iterdir()] == ["news"]

    out = tmp_path / "trec"
    outcome = run("--home", tmp_path, "corpora", "export", "news", "--out", out)
    assert outcome.code == 0, outcome.err
    assert read_topics(out / "topics.tsv") == {q.query_id: q.text for q in suite.queries}
    assert read_qrels(out / "dev.qrels")["301"] == {"d1": 2, "d2": 0}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("x", "--topics", "t"), "make a suite together"),
        (("ir:a", "--topics", "t", "--qrels", "q"), "make a suite together"),
        (("x", "y"), "2 sources make no suite"),
        (("ir:a", "y"), "2 sources make no suite"),
        (("ir:no/such/data",), "ir_datasets knows no 'no/such/data'"),
        (("ir:beir/scifact",), "has no qrels"),
        (
            ("ir:msmarco-passage/trec-dl-2019", "ir:msmarco-passage/trec-dl-2020"),
            "both give the split test",
        ),
        (("ir:beir/scifact/train", "ir:beir/nfcorpus/test"), "different documents"),
    ],
)
def test_what_makes_no_suite_is_refused(tmp_path: Path, arguments: tuple[str, ...], message: str):
    """And nothing is left in corpora/."""
    pytest.importorskip("ir_datasets", reason="needs the extra suites")
    outcome = run("--home", tmp_path, "corpora", "add", *arguments, "--name", "news")
    assert outcome.code == 1 and message in " ".join(outcome.err.split()), outcome.err
    assert not list((tmp_path / "corpora").glob("*"))


def test_documents_without_a_judged_one_are_refused(tmp_path: Path, topics: Path):
    """Ids of files and ids of qrels are shown side by side."""
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "gout.txt").write_text("joints hurt")
    topics.write_text("1\tgout\n")
    (tmp_path / "qrels").write_text("1 0 FT911-3 1\n")
    files = ("--topics", topics, "--qrels", tmp_path / "qrels", "--name", "news")
    outcome = run("--home", tmp_path, "corpora", "add", tmp_path / "notes", *files)
    assert outcome.code == 1
    assert "gout.txt" in outcome.err and "FT911-3" in outcome.err


def local_dataset(folder: Path, *splits: str) -> None:
    """Register data sets of ir_datasets under lbr-notes/, made of files in `folder`."""
    ir_datasets = pytest.importorskip("ir_datasets", reason="needs the extra suites")
    from ir_datasets.formats import TrecQrels, TsvDocs, TsvQueries
    from ir_datasets.util import LocalDownload

    (folder / "docs.tsv").write_text("a\tgout hurts\nb\tflu spreads\n")
    base = ir_datasets.Dataset(TsvDocs(LocalDownload(folder / "docs.tsv"), namespace="lbr-notes"))
    if "lbr-notes" not in ir_datasets.registry:
        ir_datasets.registry.register("lbr-notes", base)
    for number, split in enumerate(splits):
        (folder / f"{split}.tsv").write_text(f"q{number}\twhat is {split}\n")
        (folder / f"{split}.qrels").write_text(f"q{number} 0 a 2\nq{number} 0 b 0\n")
        made = ir_datasets.Dataset(
            base,
            TsvQueries(LocalDownload(folder / f"{split}.tsv"), namespace=f"lbr-notes/{split}"),
            TrecQrels(LocalDownload(folder / f"{split}.qrels"), {0: "no", 2: "yes"}),
        )
        ir_datasets.registry._registered.pop(f"lbr-notes/{split}", None)
        ir_datasets.registry.register(f"lbr-notes/{split}", made)


def test_a_suite_of_ir_datasets(tmp_path: Path):
    """Two data sets over the same documents are two splits of one suite."""
    local_dataset(tmp_path, "train", "test")
    command = ("corpora", "add", "ir:lbr-notes/train", "ir:lbr-notes/test", "--name", "notes")
    outcome = run("--home", tmp_path, *command, "--licence", "CC0")
    assert outcome.code == 0, outcome.err
    for number, split in enumerate(("train", "test")):
        suite = load_suite("notes", split=split, home=tmp_path)
        assert [(q.query_id, q.text) for q in suite.queries] == [(f"q{number}", f"what is {split}")]
        assert suite.qrels == {f"q{number}": {"a": 2, "b": 0}}
        assert [d.text for d in suite.documents()] == ["gout hurts", "flu spreads"]


def test_a_download_that_fails_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Its files are not here and no host can be reached."""
    pytest.importorskip("ir_datasets", reason="needs the extra suites")
    monkeypatch.setenv("IR_DATASETS_HOME", str(tmp_path / "none"))
    with pytest.raises(CorpusError, match="beir/scifact/test cannot be read"):
        convert_ir_datasets(["beir/scifact/test"], tmp_path / "out", say=print)


def test_without_the_package_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(__import__("sys").modules, "ir_datasets", None)
    with pytest.raises(MissingExtraError, match="ir_datasets"):
        convert_ir_datasets(["beir/scifact/test"], tmp_path / "out", say=print)


def test_ids_that_qrels_cannot_say_are_refused(tmp_path: Path):
    documents = [Document("a\tb", "text")]
    with pytest.raises(CorpusError, match="a tab"):
        write_beir(
            tmp_path, documents=documents, queries={"q": "x"}, qrels={"test": {"q": {"a\tb": 1}}}
        )
