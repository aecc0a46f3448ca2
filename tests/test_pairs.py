"""Pairs made from structure ask for what they name and do not quote it."""

from __future__ import annotations

import lzma
from pathlib import Path

from lbr_search.corpus.rejects import Rejects
from lbr_search.train.pairs import Pair, code_pairs, document_pairs, write_pairs
from lbr_search.train.sources import read_pairs
from lbr_search.types import Document

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
