"""Pairs made from structure ask for what they name and do not quote it."""

from __future__ import annotations

import lzma
from pathlib import Path

import pytest

from lbr_search.corpus.definitions import defined_term
from lbr_search.corpus.rejects import Rejects
from lbr_search.corpus.sources import resolve_source
from lbr_search.train.pairs import Pair, code_pairs, document_pairs, structure_pairs, write_pairs
from lbr_search.train.sources import read_pairs
from lbr_search.types import Document
from tests.hash_cli import run

SOURCE = '''
def read_config_file(path):
    """Read the settings of a run from disk.

    More words.
    """
    return load(path.read_text())


def undocumented(path):
    return path


def short(path):
    """Opens it."""
    return path.open()
'''


def test_a_function_is_asked_for_by_its_sentence_and_by_its_name(tmp_path: Path):
    """The sentence finds the bare function; the name finds the documented one, renamed."""
    (tmp_path / "a.py").write_text(SOURCE)
    (tmp_path / "tests").mkdir()
    (tmp_path / "tests/test_a.py").write_text(SOURCE)
    (tmp_path / "broken.py").write_text("def f(:")
    rejects = Rejects(None)
    by_sentence, by_name = code_pairs(tmp_path, rejects=rejects)
    assert by_sentence.query == "Read the settings of a run from disk."
    assert by_sentence.positive == "def read_config_file(path):\n    return load(path.read_text())"
    assert by_name.query == "read config file"
    assert by_name.positive.startswith('def f(path):\n    """Read the settings of a run from disk.')
    assert by_name.group == by_sentence.group
    assert rejects.by_reason == {"syntax error": 1}


def test_titles_and_headings_ask_for_what_stands_under_them():
    """A Markdown text gives a pair a section, any other one pair for its title."""
    words = "enough words to be worth finding in a search"
    plain = Document("a", words, title="Gout")
    markdown = Document(
        "b", f"# Dose\n{words}\n## Short\nno\n## Risks ##\n{words}", title="Aspirin"
    )
    assert list(document_pairs([plain, markdown, Document("c", words)])) == [
        Pair("Gout", "", words, "a", "title -> text"),
        Pair("Dose", "Aspirin", words, "b", "heading -> section"),
        Pair("Risks", "Aspirin", words, "b", "heading -> section"),
    ]


def test_written_pairs_are_read_as_training_data(tmp_path: Path):
    """The file is packed by its name, and whole or not there."""
    path = tmp_path / "made.jsonl.xz"
    assert write_pairs([Pair("é", "Title", "text", "g", "made")], path) == {"made": 1}
    assert lzma.decompress(path.read_bytes()).endswith(b"\n")
    assert list(read_pairs(path, rejects=Rejects(None))) == [("é", "Title text", "g")]
    assert [entry.name for entry in tmp_path.iterdir()] == ["made.jsonl.xz"]


def test_a_glossary_asks_for_definitions_by_term_and_by_synonym(tmp_path: Path):
    """Columns are known by name or named; synonyms share the group of their term."""
    table = tmp_path / "terms.csv"
    table.write_text(
        "id,term,definition,synonyms\n"
        "1,Gout,A painful arthritis of one joint.,podagra| Gout\n"
        "2,Empty,Too short.,\n"
    )
    rows = list(structure_pairs(resolve_source(str(table), tmp_path), rejects=Rejects(None)))
    text = "A painful arthritis of one joint."
    assert rows == [
        Pair("Gout", "", text, "1", "term -> definition"),
        Pair("podagra", "", text, "1", "synonym -> definition"),
    ]
    table.write_text("lemma,gloss\nGout,A painful arthritis of one joint.\n")
    source = resolve_source(str(table), tmp_path)
    named = structure_pairs(source, rejects=Rejects(None), columns=("lemma", "gloss"))
    assert [(pair.query, pair.positive) for pair in named] == [("Gout", text)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Gout is a painful joint disease. More.", ("Gout", "A painful joint disease.")),
        ("Urea, or carbamide, is the end of a cycle.", ("Urea", "The end of a cycle.")),
        ("Benzene (C6H6) is an aromatic carbon ring.", ("Benzene", "An aromatic carbon ring.")),
        ("It is a painful arthritis of joints.", None),
        ("The man who has gout since ten long years is a poor man.", None),
        ("Gout is a pain.", None),
        ("Gout hurts. It is a painful arthritis.", None),
    ],
)
def test_a_first_sentence_that_defines_gives_term_and_definition(text, expected):
    """Only a name, only the first sentence, and a definition of some words without the name."""
    assert defined_term(text) == expected


def test_the_command_counts_what_it_made_and_what_it_could_not_read(tmp_path: Path):
    """Kinds and rejects are shown; without a pair nothing is written."""
    (tmp_path / "code").mkdir()
    (tmp_path / "code/a.py").write_text(SOURCE)
    (tmp_path / "code/b.py").write_text("def f(:")
    out = tmp_path / "pairs.jsonl.gz"
    outcome = run("train", "pairs", tmp_path / "code", "--out", out)
    assert outcome.code == 0, outcome.err
    shown = " ".join(outcome.out.split())
    assert "docstring -> code 1" in shown and "name -> code 1" in shown
    assert "rejected: syntax error 1" in shown
    assert len(list(read_pairs(out, rejects=Rejects(None)))) == 2
    (tmp_path / "plain.jsonl").write_text('{"text": "no title"}\n')
    outcome = run("train", "pairs", tmp_path / "plain.jsonl", "--out", tmp_path / "none.jsonl")
    assert outcome.code == 1 and "--term-column" in outcome.err
    assert not list(tmp_path.glob("*none.jsonl"))
