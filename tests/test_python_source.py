"""Python files become one document a function, method and class, with path and lines."""

from __future__ import annotations

from pathlib import Path

import pytest

from lbr_search.corpus.python_source import MAX_LINE_CHARS, read_python_tree
from lbr_search.corpus.rejects import Rejects
from lbr_search.protocols import ReadOptions
from lbr_search.types import Document

SOURCE = '''\
"""Module."""
import functools


@functools.cache
def area(width, /, height=1, *rest, unit: str = "m", **more) -> float:
    """Multiply."""

    def inner():
        return width

    return inner() * height


class Shape(Base, metaclass=Meta):
    """A shape."""

    sides = 0

    @property
    def name(self):
        return self._name

    @name.setter
    def name(self, value):
        self._name = value

    class Corner:
        async def move(
            self,
            by,
        ):
            await by


if True:
    def late(): return 1
else:
    try:
        pass
    except ValueError:
        def late(): return 2
'''


def read(path: Path) -> tuple[dict[str, Document], Rejects]:
    rejects = Rejects(None)
    documents = list(read_python_tree(path, options=ReadOptions(domain="code"), rejects=rejects))
    by_id = {document.doc_id: document for document in documents}
    assert len(by_id) == len(documents), "ids are unique"
    return by_id, rejects


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    (tmp_path / "pkg").mkdir()
    (tmp_path / "pkg" / "shapes.py").write_text(SOURCE)
    return tmp_path


def test_functions_methods_and_classes_are_documents(tree):
    """Every definition outside functions is found, also in branches; repeats get their line."""
    documents, rejects = read(tree)
    assert list(documents) == [
        "pkg/shapes.py::area",
        "pkg/shapes.py::Shape",
        "pkg/shapes.py::Shape.name",
        "pkg/shapes.py::Shape.name:24",
        "pkg/shapes.py::Shape.Corner",
        "pkg/shapes.py::Shape.Corner.move",
        "pkg/shapes.py::late",
        "pkg/shapes.py::late:42",
    ]
    assert rejects.n_rejected == 0


def test_text_lines_and_metadata_point_to_the_source(tree):
    """start_line and end_line give the text back, decorators included, at the left margin."""
    documents, _ = read(tree)
    lines = SOURCE.split("\n")
    for document in documents.values():
        meta = document.metadata
        if meta["kind"] == "class":
            continue
        span = lines[meta["start_line"] - 1 : meta["end_line"]]
        assert [line.strip() for line in span] == [x.strip() for x in document.text.split("\n")]
        assert document.text[0] != " "
    assert documents["pkg/shapes.py::area"].text.startswith("@functools.cache\ndef area(")
    assert documents["pkg/shapes.py::Shape.name:24"].metadata == {
        "path": "pkg/shapes.py",
        "symbol": "Shape.name",
        "kind": "method",
        "start_line": 24,
        "end_line": 26,
    }


def test_titles_are_signatures(tree):
    """A title shows what a caller types: parameters of functions, bases of classes."""
    documents, _ = read(tree)
    assert documents["pkg/shapes.py::area"].title == "area(width, /, height, *rest, unit, **more)"
    assert documents["pkg/shapes.py::Shape"].title == "Shape(Base)"
    assert documents["pkg/shapes.py::Shape.Corner.move"].title == "Shape.Corner.move(self, by)"


def test_a_class_does_not_repeat_its_methods(tree):
    """The document of a class keeps docstring, attributes and signatures, not the bodies."""
    text = read(tree)[0]["pkg/shapes.py::Shape"].text
    for kept in ('"""A shape."""', "sides = 0", "def name(self, value):", "class Corner:"):
        assert kept in text
    for left in ("self._name", "await by"):
        assert left not in text


def test_a_module_without_definitions_is_one_document(tmp_path):
    """Constants and scripts are not lost; empty modules are passed over, not rejected."""
    (tmp_path / "constants.py").write_text('"""Limits."""\n\nMAX = 5\n')
    (tmp_path / "__init__.py").write_text("\n")
    documents, rejects = read(tmp_path)
    assert list(documents) == ["constants.py"]
    document = documents["constants.py"]
    assert document.text == '"""Limits."""\n\nMAX = 5' and document.title == "constants.py"
    assert document.metadata["kind"] == "module"
    assert rejects.n_rejected == 0


def test_encodings_and_line_ends_are_those_of_the_file(tmp_path):
    """PEP 263 cookies and \\r\\n are honoured, and form feeds do not shift line numbers."""
    (tmp_path / "latin.py").write_bytes(
        b"# -*- coding: latin-1 -*-\r\n\x0c\r\ndef caf\xe9():\r\n    return '\xe9'\r\n"
    )
    documents, _ = read(tmp_path)
    document = documents["latin.py::café"]
    assert document.text == "def café():\n    return 'é'"
    assert document.metadata["start_line"] == 3


def test_bad_files_are_rejected_with_their_reason(tmp_path):
    """Syntax errors, wrong bytes and generated files are counted; the other files stay."""
    (tmp_path / "syntax.py").write_text("def f(:\n")
    (tmp_path / "bytes.py").write_bytes(b"x = '\xff'\n")
    (tmp_path / "nul.py").write_bytes(b"x = '\0'\n")
    (tmp_path / "cookie.py").write_bytes(b"# coding: no-such-codec\n")
    (tmp_path / "deep.py").write_text("x = " + "(" * 900 + ")" * 900 + "\n")
    (tmp_path / "table.py").write_text(f"DATA = '{'x' * MAX_LINE_CHARS}'\n")
    (tmp_path / "good.py").write_text("def good(): return '\\d'\n")
    documents, rejects = read(tmp_path)
    assert list(documents) == ["good.py::good"]
    assert rejects.by_reason == {
        "syntax error": 3,
        "wrong encoding": 2,
        "generated or minified": 1,
    }


def test_foreign_folders_are_left_out(tmp_path):
    """Caches, installed packages, virtual environments and hidden folders are not the project."""
    for folder in (".git", "__pycache__", "site-packages", "env", "src"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "m.py").write_text("def f(): pass\n")
    (tmp_path / "env" / "pyvenv.cfg").write_text("")
    assert list(read(tmp_path)[0]) == ["src/m.py::f"]


def test_one_file_is_a_tree(tree):
    """A single .py can be given too; its ids start with its own name."""
    documents, _ = read(tree / "pkg" / "shapes.py")
    assert next(iter(documents)) == "shapes.py::area"
