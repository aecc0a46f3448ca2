"""Snippets: the window taken, where the marks stand, and texts at the edges."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lbr_search.search.snippets import Snippet, best_passage


def spans(word: str, text: str) -> list[tuple[int, int]]:
    return [match.span() for match in re.finditer(word, text)]


def marked(snippet: Snippet) -> list[str]:
    return [snippet.text[first:last] for first, last in snippet.marks]


def test_the_window_with_the_most_different_words_is_taken():
    text = "Heat heat heat. Nothing here. Heat makes ice melt. The end."
    matches = sorted(spans("[Hh]eat|ice|melt", text))
    snippet = best_passage(text, matches, max_chars=25)
    assert snippet.text == "Heat makes ice melt."
    assert marked(snippet) == ["Heat", "ice", "melt"]
    assert text[snippet.start : snippet.end].strip() == snippet.text


def test_without_a_match_the_beginning_is_shown():
    assert best_passage("First one. Second one.", [], max_chars=12).text == "First one."


def test_equal_windows_give_the_earlier_one():
    text = "A cat sat. B cat sat. C cat sat."
    assert best_passage(text, spans("cat", text), max_chars=11).text == "A cat sat."


def test_marks_follow_when_line_breaks_and_indents_become_one_space():
    text = "def  total(rows):\n        return   sum(rows)\n"
    snippet = best_passage(text, spans("rows|sum", text))
    assert snippet.text == "def total(rows): return sum(rows)"
    assert marked(snippet) == ["rows", "sum", "rows"]


def test_a_dot_inside_a_word_does_not_end_the_sentence():
    text = "Use v1.2 of os.path now. Then stop."
    assert best_passage(text, spans("path", text), max_chars=26).text == "Use v1.2 of os.path now."


def test_a_long_sentence_is_cut_at_words_near_the_match():
    text = "word " * 200 + "needle " + "word " * 200
    snippet = best_passage(text, spans("needle", text), max_chars=80)
    assert marked(snippet) == ["needle"]
    assert len(snippet.text) <= 80
    assert set(snippet.text.split()) == {"word", "needle"}


@pytest.mark.parametrize("text", ["", " ", "\n\n", "x"])
def test_texts_with_nothing_to_cut(text):
    assert best_passage(text, []) == Snippet(text.strip(), (), 0, len(text))


@given(st.text(alphabet="ab .\n!x", max_size=200), st.integers(5, 60))
def test_marks_always_cover_the_matched_words(text, max_chars):
    matches = spans("a+", text)
    snippet = best_passage(text, matches, max_chars=max_chars)
    assert snippet.end - snippet.start <= max_chars
    assert all(set(word) == {"a"} for word in marked(snippet))
    assert not re.search(r"\s\s", snippet.text)
    if matches:
        assert marked(snippet)
