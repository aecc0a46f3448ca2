"""Analysers: what they keep, that English equals bm25s, and how words are marked."""

from __future__ import annotations

import threading

import bm25s
import pytest
import Stemmer
from bm25s.stopwords import STOPWORDS_EN
from hypothesis import given
from hypothesis import strategies as st

from lbr_search.errors import ConfigError, IndexFormatError
from lbr_search.index.analysis import (
    ANALYSERS,
    VERSIONS,
    AnalyserVersion,
    analyser_for,
    analyser_named,
    check_version,
    matched_terms,
    versioned,
)
from lbr_search.terms import english as english_terms

TEXTS = [
    "The patients' insulin levels were measured in 12 trials, twice a day.",
    "IL-6 and TNF-alpha rise in COVID-19; naïve T-cells do not. β-catenin x y z",
    "Running runner runs ran; generously organised organisations.",
    "def readFile(max_size): return os.path.join(HTTPServer2, 'a')",
    "",
    "a the of",
]


def peer_english(text: str) -> list[str]:
    """The same analysis by bm25s itself."""
    stemmer = Stemmer.Stemmer("english")
    return bm25s.tokenize(
        [text], stopwords="en", stemmer=stemmer, show_progress=False, return_ids=False
    )[0]


def test_stop_words_are_those_of_bm25s():
    """The list is the peer's, word for word."""
    assert frozenset(STOPWORDS_EN) == english_terms.STOP_WORDS


@pytest.mark.parametrize("text", TEXTS)
def test_english_equals_bm25s(text):
    """English gives bm25s's terms in bm25s's order."""
    assert ANALYSERS["english"](text) == peer_english(text)


@given(st.text(max_size=80))
def test_english_equals_bm25s_on_any_text(text):
    """Also on scripts, marks and separators that nobody thought of."""
    assert ANALYSERS["english"](text) == peer_english(text)


@pytest.mark.parametrize("name", list(ANALYSERS))
@given(text=st.text(max_size=80))
def test_no_text_crashes_an_analyser(name, text):
    """Any Unicode string gives terms, none of them empty, and the same ones again."""
    terms = ANALYSERS[name](text)
    assert all(terms)
    assert not any(character.isspace() for term in terms for character in term)
    assert terms == ANALYSERS[name](text)


SYMBOLS = "abcHCNOPSFIl()[]{}=#@+-/\\%.,:;'0123456789 \u03b1\u03b2\u2082IVXtype-"


@pytest.mark.parametrize("name", list(ANALYSERS))
@given(text=st.text(alphabet=SYMBOLS, max_size=60))
def test_no_mixture_of_symbols_crashes_an_analyser(name, text):
    """Nor do brackets, digits and letters that look like formulas, SMILES or numerals."""
    assert ANALYSERS[name](text) == ANALYSERS[name](text)


@given(text=st.text(max_size=80))
def test_code_adds_to_english(text):
    """The terms of English come first and in order."""
    english = ANALYSERS["english"](text)
    assert ANALYSERS["code"](text)[: len(english)] == english


def test_whole_formulas_and_identifiers_are_english_words():
    """What has no separator is whole already."""
    assert "c6h12o6" in ANALYSERS["chemistry"]("C6H12O6")
    assert "max_siz" in ANALYSERS["code"]("max_size")
    assert {"os", "path", "join", "os.path.join"} <= set(ANALYSERS["code"]("os.path.join"))


def test_the_memory_of_words_stays_bounded(monkeypatch):
    """More distinct words than the limit do not grow it, and the terms stay right."""
    monkeypatch.setattr(english_terms, "CACHED_WORDS", 50)
    words = [f"word{number}" for number in range(400)]
    assert ANALYSERS["english"](" ".join(words)) == words
    assert len(english_terms.stems) <= 50
    ANALYSERS["english"]("x" * 1_000)
    assert "x" * 1_000 not in english_terms.stems


def test_threads_get_the_same_terms():
    """Eight threads that fill the memory together get what one alone gets."""
    texts = [f"measuring{n % 300} happily running {n % 7}times" for n in range(3_000)]
    wanted = [peer_english(text) for text in texts[:300]]
    english_terms.stems.clear()
    found: list[list[list[str]]] = []
    threads = [
        threading.Thread(target=lambda: found.append([ANALYSERS["english"](t) for t in texts]))
        for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 8
    assert all(terms[:300] == wanted for terms in found)


def test_analysers_by_domain_and_name():
    """Unknown domains are English; unknown analysers are refused with the nearest name."""
    assert [analyser_for(d) for d in ("medical", "code", "", "law")] == [
        "medical",
        "code",
        "english",
        "english",
    ]
    with pytest.raises(ConfigError, match="use chemistry"):
        analyser_named("chemistri")


def test_the_version_of_an_analyser_is_part_of_its_name(tmp_path):
    """Every analyser has a version; terms of another version are refused with both named."""
    assert VERSIONS.keys() == ANALYSERS.keys()
    assert str(versioned("english")) == "english-1"
    check_version(tmp_path, versioned("medical"))
    with pytest.raises(IndexFormatError, match=r"medical-1\n.*medical-2\nfix: ingest the same"):
        check_version(tmp_path, AnalyserVersion("medical", 1))


@pytest.mark.parametrize(
    ("analyser", "query", "text", "marked"),
    [
        ("english", "sorted lists", "To sort a list, list it.", ["sort", "list", "list"]),
        ("english", "the of", "the best of the rest", []),
        ("english", "", "anything", []),
        ("medical", "IL-6", "IL-6 and IL-10", ["IL-6", "IL"]),
        ("chemistry", "2,4-dinitrophenol", "a 2,4-Dinitrophenol.", ["2,4-Dinitrophenol"]),
        ("chemistry", "benzoic acid", "sodium benzoate", ["benzoate"]),
        ("code", "read a file", "def readFile(path):", ["readFile"]),
        ("code", "max size", "max_size = 3", ["max_size"]),
    ],
)
def test_marked_words(analyser, query, text, marked):
    """Spans point at the words that made the match."""
    assert [text[a:b] for a, b in matched_terms(query, text, analyser)] == marked


@pytest.mark.parametrize("name", list(ANALYSERS))
@given(query=st.text(max_size=30), text=st.text(max_size=80))
def test_marked_spans_are_in_order_and_apart(name, query, text):
    """Spans lie in the text, ascend, do not overlap, and each shares a term with the query."""
    last = 0
    for start, end in matched_terms(query, text, name):
        assert last <= start < end <= len(text)
        last = end
