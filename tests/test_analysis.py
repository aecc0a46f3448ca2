"""Analysers: what they keep, that English equals bm25s, and how words are marked."""

from __future__ import annotations

import threading

import bm25s
import pytest
import Stemmer
from bm25s.stopwords import STOPWORDS_EN
from hypothesis import given
from hypothesis import strategies as st

from lbr_search.errors import ConfigError
from lbr_search.index import analysis
from lbr_search.index.analysis import ANALYSERS, analyser_for, analyser_named, matched_terms

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
    assert frozenset(STOPWORDS_EN) == analysis.STOP_WORDS


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
def test_every_analyser_adds_to_english(name, text):
    """The terms of English are always there, first and in order; nothing is empty."""
    terms, english = ANALYSERS[name](text), ANALYSERS["english"](text)
    assert terms[: len(english)] == english
    assert all(terms)
    assert terms == ANALYSERS[name](text)


@pytest.mark.parametrize(
    ("name", "text", "added"),
    [
        ("medical", "IL-6 receptor", {"il-6", "6"}),
        ("medical", "COVID-19", {"covid-19"}),
        ("medical", "well-known", set()),
        ("chemistry", "(50-78-2)", {"50-78-2"}),
        ("chemistry", "2,4-Dinitrophenol", {"2,4-dinitrophenol", "^dinit"}),
        ("chemistry", "N,N-dimethylformamide", {"n,n-dimethylformamide", "^dimet"}),
        ("chemistry", "(2S)-2-aminopropanoic acid", {"(2s)-2-aminopropanoic", "^amino"}),
        ("chemistry", "C6H12O6 sugar", set()),
        ("code", "readFile", {"read", "file"}),
        ("code", "HTTPServer", {"http", "server"}),
        ("code", "max_size", {"max", "size"}),
        ("code", "utf16le", {"utf", "16", "le"}),
        ("code", "os.path.join", set()),
        ("code", "plain words", set()),
    ],
)
def test_compounds_are_whole_and_in_parts(name, text, added):
    """Exactly these terms come on top of English."""
    english = ANALYSERS["english"](text)
    assert set(ANALYSERS[name](text)[len(english) :]) == added


def test_whole_formulas_and_identifiers_are_english_words():
    """What has no separator is whole already."""
    assert "c6h12o6" in ANALYSERS["chemistry"]("C6H12O6")
    assert "max_siz" in ANALYSERS["code"]("max_size")
    assert {"os", "path", "join"} <= set(ANALYSERS["code"]("os.path.join"))


def test_the_memory_of_words_stays_bounded(monkeypatch):
    """More distinct words than the limit do not grow it, and the terms stay right."""
    monkeypatch.setattr(analysis, "CACHED_WORDS", 50)
    words = [f"word{number}" for number in range(400)]
    assert ANALYSERS["english"](" ".join(words)) == words
    assert len(analysis._stems) <= 50
    ANALYSERS["english"]("x" * 1_000)
    assert "x" * 1_000 not in analysis._stems


def test_threads_get_the_same_terms():
    """Eight threads that fill the memory together get what one alone gets."""
    texts = [f"measuring{n % 300} happily running {n % 7}times" for n in range(3_000)]
    wanted = [peer_english(text) for text in texts[:300]]
    analysis._stems.clear()
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
