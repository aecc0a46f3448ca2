"""Own corpora by name; listed suites; reference numbers only where the task is the same."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from lbr_search.bench.runner import run_bench
from lbr_search.corpus.add import add_corpus
from lbr_search.corpus.fetch import fetch
from lbr_search.corpus.manifest import find_manifest, load_manifest, shipped_manifests
from lbr_search.corpus.suite import load_suite
from lbr_search.errors import ConfigError, CorpusError
from tests.conftest import HashEncoder
from tests.hash_cli import run
from tests.test_cli import write_suite

HOME = Path(__file__).parents[1]
MANIFEST = """name = "notes"
title = "Notes"
domain = "medical"
task_id = "NotesRetrieval"
source_page = "https://example.org/notes"
licence = "CC0"
format = "listed"
known = "all of it"
documents = {documents}

[queries]
test = 3

[[reference]]
system = "BM25"
ndcg_10 = 0.321
recall_100 = 0.9
source = "their paper"
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_suite(tmp_path / "somewhere" / "mine", "medical")


def test_an_own_suite_is_known_by_its_name(folder: Path, tmp_path: Path) -> None:
    """Copied and recorded; the name, the domain and the digests of the files are kept."""
    command = ("corpora", "add", folder, "--name", "notes", "--domain", "x", "--licence", "CC0")
    outcome = run("--home", tmp_path, *command)
    assert outcome.code == 0, outcome.err
    assert "10 documents; queries: test 3" in outcome.err
    suite = load_suite("notes", home=tmp_path)
    assert (suite.name, suite.domain, len(suite.queries)) == ("notes", "x", 3)
    record = json.loads((tmp_path / "corpora/notes/SOURCE.json").read_text())
    assert (record["name"], record["licence"]) == ("notes", "CC0")
    assert "notes" in run("--home", tmp_path, "corpora", "list").out
    assert run("--home", tmp_path, "corpora", "check", "notes").code == 0
    with (tmp_path / "corpora/notes/corpus.jsonl").open("a") as file:
        file.write('{"_id": "new", "text": "more"}\n')
    changed = run("--home", tmp_path, "corpora", "check", "notes")
    assert changed.code == 1 and "has changed" in changed.err


def test_what_is_not_whole_is_not_added(folder: Path, tmp_path: Path) -> None:
    """A judged document that is missing, a taken or impossible name, an empty folder."""
    into = tmp_path / "corpora"
    with (folder / "qrels/test.tsv").open("a") as file:
        file.write("q0\tghost\t1\n")
    with pytest.raises(CorpusError, match="ghost"):
        add_corpus(folder, name="notes", into=into)
    with pytest.raises(CorpusError, match="no name"):
        add_corpus(folder, name="My Notes", into=into)
    whole = write_suite(tmp_path / "whole", "code")
    add_corpus(whole, name="notes", into=into)
    with pytest.raises(CorpusError, match="exists"):
        add_corpus(whole, name="notes", into=into)
    assert [path.name for path in into.iterdir()] == ["notes"]


def test_a_suite_has_to_be_what_its_manifest_promises(folder: Path, tmp_path: Path) -> None:
    """Added under the name of a manifest, its counts are compared."""
    into = tmp_path / "corpora"
    into.mkdir()
    (into / "notes.toml").write_text(MANIFEST.format(documents=11))
    with pytest.raises(CorpusError, match="documents: 10 here, 11 expected"):
        add_corpus(folder, name="notes", into=into)
    (into / "notes.toml").write_text(MANIFEST.format(documents=10))
    assert add_corpus(folder, name="notes", into=into).n_documents == 10


def test_a_listed_suite_is_not_fetched_but_explained(tmp_path: Path) -> None:
    """Its page, its licence and the command that takes it in; nothing is made."""
    (tmp_path / "notes.toml").write_text(MANIFEST.format(documents=10))
    with pytest.raises(CorpusError) as error:
        fetch(load_manifest(tmp_path / "notes.toml"), into=tmp_path / "corpora")
    assert "corpora add DIR --name notes" in error.value.fix
    assert "https://example.org/notes" in error.value.fix
    assert not (tmp_path / "corpora").exists()


def test_reference_numbers_are_shown_for_the_same_task_alone(folder: Path, tmp_path: Path) -> None:
    """Equal counts: shown in every output. Other counts: a warning instead of numbers."""
    into = tmp_path / "corpora"
    into.mkdir()
    (into / "notes.toml").write_text(MANIFEST.format(documents=10))
    add_corpus(folder, name="notes", into=into)
    options = {"encoders": [HashEncoder()], "modes": ["lexical"], "home": tmp_path}
    page = tmp_path / "notes.html"
    found = run_bench(["notes"], html_path=page, **options)
    assert found.to_json()["settings"]["suites"]["notes"]["references"] == [
        {"system": "BM25", "ndcg_10": 0.321, "source": "their paper", "recall_100": 0.9}
    ]
    assert "their paper" in page.read_text() and not found.warnings
    shown = run("--home", tmp_path, "bench", "notes", "--encoder", "hash:a", "--mode", "lexical")
    assert "their paper" in shown.out and "0.321" in shown.out
    (into / "notes.toml").write_text(MANIFEST.format(documents=99))
    other = run_bench(["notes"], **options)
    assert other.suites["notes"].references == ()
    expected = "called like NotesRetrieval and is not the same: 10 documents here, 99"
    assert expected in other.warnings[0]


def test_reference_numbers_need_a_source_and_a_range(tmp_path: Path) -> None:
    """A percentage, or a number from nowhere, is refused when the manifest is read."""
    text = MANIFEST.format(documents=10)
    for wrong in (text.replace("0.321", "32.1"), text.replace('"their paper"', '""')):
        (tmp_path / "notes.toml").write_text(wrong)
        with pytest.raises(ConfigError, match="reference 'BM25'"):
            load_manifest(tmp_path / "notes.toml")


def test_the_registry_covers_three_domains() -> None:
    """Sixteen public suites, each with task, licence, counts; same names told apart by the task."""
    manifests = [find_manifest(name, HOME) for name in shipped_manifests(HOME)]
    assert len(manifests) >= 14
    assert {found.domain for found in manifests} == {"medical", "chemistry", "code"}
    assert len({found.task_id for found in manifests}) == len(manifests)
    for found in manifests:
        assert found.licence and found.documents and found.queries["test"] and found.known
    with_numbers = [found.name for found in manifests if found.reference]
    assert len(with_numbers) >= 13
    scifact = next(found for found in manifests if found.name == "scifact")
    bm25 = [(r.system, r.ndcg_10) for r in scifact.reference if r.system.startswith("BM25")]
    assert bm25 == [("BM25 (bm25s)", 0.687), ("BM25 flat", 0.6789)]
