"""The standard library as a suite: real functions, sentences that ask for them, no leaks."""

from __future__ import annotations

import json
import platform
import shutil
from pathlib import Path

import pytest

from lbr_search.corpus import demo
from lbr_search.corpus.docstrings import MIN_QUERY_WORDS, first_sentence
from lbr_search.corpus.suite import Suite, load_suite
from lbr_search.errors import CorpusError

SHIPPED = Path(__file__).parents[1] / "corpora" / "demo" / "code"


@pytest.fixture(scope="module")
def shipped(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Suite]:
    """The code suite as it is shipped, one Suite a split."""
    return {
        split: load_suite(SHIPPED, split=split, home=SHIPPED) for split in ("test", "dev", "train")
    }


def code_corpus(folder: Path, **record: object) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "SOURCE.json").write_text(
        json.dumps({"reader": "python-stdlib", "domain": "code"} | record)
    )
    return folder


def test_the_shipped_suite_has_the_promised_size(shipped):
    """Small enough to encode in a demo, large enough to measure: 300 test and 100 dev queries."""
    assert 1_000 < shipped["test"].n_documents < 3_000
    assert len(shipped["test"].queries) == 300
    assert len(shipped["dev"].queries) == 100
    assert shipped["test"].domain == "code"
    assert shipped["test"].warnings == []


def test_splits_share_documents_but_no_query(shipped):
    """No query text stands in two splits, and all splits search the same documents."""
    texts = [query.text for suite in shipped.values() for query in suite.queries]
    assert len(texts) == len(set(texts))
    assert len({suite.content_hash for suite in shipped.values()}) == 1


def test_no_document_holds_the_query_it_answers(shipped):
    """The sentence that asks for a function stands nowhere in that function's text or title."""
    documents = {d.doc_id: d for d in shipped["test"].documents()}
    assert len(documents) == shipped["test"].n_documents
    for suite in shipped.values():
        for query in suite.queries:
            assert len(query.text.split()) >= MIN_QUERY_WORDS
            relevant = suite.qrels[query.query_id]
            assert relevant
            for doc_id in relevant:
                document = documents[doc_id]
                assert query.text not in " ".join(document.text.split())
                assert query.text not in document.title


def test_a_known_function_is_found_by_its_docstring(tmp_path):
    """json.dumps: its first sentence asks for it, its body stays, its docstring goes."""
    folder = code_corpus(tmp_path / "code", modules=["json"])
    suite = load_suite(folder, split="train", home=tmp_path)
    document = next(d for d in suite.documents() if d.doc_id == "json/__init__.py::dumps")
    assert document.title.startswith("json.dumps(obj, *, skipkeys, ensure_ascii,")
    assert document.text.startswith("def dumps(") and "return cls(" in document.text
    assert "Serialize ``obj``" not in document.text
    query = next(q for q in suite.queries if q.text.startswith("Serialize ``obj`` to a JSON"))
    assert suite.qrels[query.query_id] == {"json/__init__.py::dumps": 1}


def test_identical_sentences_make_all_their_functions_relevant(tmp_path, monkeypatch):
    """One sentence is one query for all functions that carry it; short and quoted ones ask none."""
    library = tmp_path / "lib"
    (library / "tests").mkdir(parents=True)
    (library / "tests" / "t.py").write_text('def t():\n    """A test that is left out."""\n    f\n')
    (library / "one.py").write_text(
        'def a(x):\n    """Return the\n    value twice. More."""\n    return 2 * x\n\n\n'
        'def b(x):\n    """Return the value twice."""\n    return x + x\n\n\n'
        'def c():\n    """Too short."""\n    return 1\n\n\n'
        'def d():\n    """Nothing else stands in here."""\n\n\n'
        'def e():\n    """Do as the comment says."""\n    # Do as the comment says.\n    f()\n\n\n'
        'def g(): "All stands in one line here."; return 5\n'
    )
    monkeypatch.setattr(demo.sysconfig, "get_paths", lambda: {"stdlib": str(library)})
    suite = load_suite(code_corpus(tmp_path / "code"), split="train", home=tmp_path)
    asked = {q.text: set(suite.qrels[q.query_id]) for q in suite.queries}
    assert asked == {
        "Return the value twice.": {"one.py::a", "one.py::b"},
        "All stands in one line here.": {"one.py::g"},
    }
    texts = {d.doc_id: d.text for d in suite.documents()}
    assert texts["one.py::a"] == "def a(x):\n    return 2 * x"
    assert texts["one.py::g"] == "def g():\n    return 5"
    assert sorted(texts) == [f"one.py::{name}" for name in "abcdeg"]


def test_the_hash_covers_version_choice_and_sources(tmp_path, monkeypatch):
    """Another Python, another choice of modules or an edited source is another corpus."""
    library = tmp_path / "lib"
    library.mkdir()
    for name in ("one", "two"):
        (library / f"{name}.py").write_text('def f():\n    """Return the number one."""\n    1\n')
    monkeypatch.setattr(demo.sysconfig, "get_paths", lambda: {"stdlib": str(library)})
    folder = code_corpus(tmp_path / "code", modules=["one"])
    hashes = [demo.stdlib_hash(folder)]
    assert demo.stdlib_hash(folder) == hashes[0]
    (library / "two.py").write_text("x = 1\n")
    assert demo.stdlib_hash(folder) == hashes[0], "a module that was not chosen does not count"
    (library / "one.py").write_text("x = 1\n")
    hashes.append(demo.stdlib_hash(folder))
    code_corpus(folder, modules=["one", "two"])
    hashes.append(demo.stdlib_hash(folder))
    monkeypatch.setattr(platform, "python_version", lambda: "9.9.9")
    hashes.append(demo.stdlib_hash(folder))
    assert len(set(hashes)) == 4


@pytest.mark.parametrize(
    ("record", "message"),
    [
        ({"modules": ["jsno"]}, r"no source of jsno[\s\S]*use json"),
        ({"modules": "json"}, "neither"),
        ({"modules": []}, "neither"),
        ({"modules": ["json"], "queries": {"test": 0}}, "number > 0"),
    ],
)
def test_a_wrong_recipe_is_refused(tmp_path, record, message):
    """A module that is not there, or a setting of the wrong kind, is named with its fix."""
    folder = code_corpus(tmp_path / "code", **record)
    with pytest.raises(CorpusError, match=message):
        load_suite(folder, split="train", home=tmp_path)


def test_the_shipped_suite_loads_by_name(tmp_path):
    """`code` under corpora/demo of the home is found by its name."""
    shutil.copytree(SHIPPED, tmp_path / "corpora" / "demo" / "code")
    code_corpus(tmp_path / "corpora" / "demo" / "code", modules=["bisect"])
    suite = load_suite("code", split="train", home=tmp_path)
    assert suite.name == "code" and suite.n_documents == 4


@pytest.mark.parametrize(
    ("docstring", "sentence"),
    [
        ("Open a file for reading.\n\nMore.", "Open a file for reading."),
        ("Read e.g. one line. Then stop.", "Read e.g. one line."),
        ("Return pi to 3.14 digits", "Return pi to 3.14 digits"),
        ("open(name) -> file\n\nOpen the named file now.", "Open the named file now."),
        (">>> f()\n1\n\nCall the function f once.", "Call the function f once."),
        ("Too short here.", ""),
        ("", ""),
    ],
)
def test_first_sentences(docstring, sentence):
    """Abbreviations and numbers do not end a sentence; calls and doctests are no sentences."""
    assert first_sentence(docstring) == sentence
