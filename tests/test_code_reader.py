"""Repositories become functions, methods and classes, in thirteen languages."""

from __future__ import annotations

from pathlib import Path

import pytest

from lbr_search.corpus.code.languages import LANGUAGES
from lbr_search.corpus.detect import detect_reader
from lbr_search.corpus.rejects import Rejects
from lbr_search.corpus.sources import resolve_source
from lbr_search.protocols import ReadOptions
from lbr_search.registry import READERS
from lbr_search.types import Document

SAMPLES = {
    "a.py": (
        "class Stack:\n    '''A pile.'''\n\n    def pop(self, n):\n"
        '        """Take the top. Or fail."""\n        return n\n\n\nasync def run():\n    pass\n',
        {"Stack": "class", "Stack.pop": "method", "run": "function"},
        ("Stack.pop", "a.py Stack: def pop(self, n)", "Take the top."),
    ),
    "a.js": (
        "/** Adds numbers. */\nexport function add(a, b) { return a + b }\n"
        "class Stack extends Base {\n  // Takes the top.\n  pop(n) { return n }\n}\n"
        "export const twice = async (x) => {\n  return 2 * x\n}\n",
        {"add": "function", "Stack": "class", "Stack.pop": "method", "twice": "function"},
        ("add", "a.js export function add(a, b)", "Adds numbers."),
    ),
    "a.ts": (
        "namespace Shapes {\n  /** A circle. */\n  export class Circle<T> {\n"
        "    area(r: number): number { return r }\n  }\n}\n"
        "export interface Named { name: string }\nenum Color { Red }\ntype Id = string\n",
        {
            "Shapes.Circle": "class",
            "Shapes.Circle.area": "method",
            "Named": "type",
            "Color": "type",
            "Id": "type",
        },
        ("Shapes.Circle.area", "a.ts Shapes.Circle: area(r: number): number", ""),
    ),
    "a.tsx": (
        "export function App(): JSX.Element {\n  return <div>hi</div>\n}\n",
        {"App": "function"},
        ("App", "a.tsx export function App(): JSX.Element", ""),
    ),
    "A.java": (
        "package x;\n/** A pile. */\n@Deprecated\npublic class Stack<T> {\n"
        "  /** Takes the top. */\n  @Override\n  public T pop(int n) { return null; }\n"
        "  Stack() {}\n}\ninterface I { void f(); }\n",
        {
            "Stack": "class",
            "Stack.pop": "method",
            "Stack.Stack": "method",
            "I": "class",
            "I.f": "method",
        },
        ("Stack.pop", "A.java Stack: @Override public T pop(int n)", "Takes the top."),
    ),
    "a.c": (
        "#include <x.h>\n/* Adds. */\nstatic int *add(int a, int b) {\n  return 0;\n}\n"
        "struct point { int x; };\ntypedef struct { int y; } pair;\nstruct point p;\n",
        {"add": "function", "point": "type", "pair": "type"},
        ("add", "a.c static int *add(int a, int b)", "Adds."),
    ),
    "a.cpp": (
        "namespace n {\n/// A box.\ntemplate <class T>\nclass Box {\n public:\n"
        "  T get() const { return v; }\n};\n}\nint n::Box::size() { return 1; }\n",
        {"n.Box": "class", "n.Box.get": "method", "n::Box::size": "method"},
        ("n.Box", "a.cpp n: template <class T> class Box", "A box."),
    ),
    "a.cs": (
        "namespace N {\n  /// <summary>A pile.</summary>\n  public class Stack {\n"
        "    public int Pop(int n) => n;\n  }\n  enum E { A }\n}\n",
        {"N.Stack": "class", "N.Stack.Pop": "method", "N.E": "type"},
        ("N.Stack", "a.cs N: public class Stack", "A pile."),
    ),
    "a.go": (
        "package a\n\n// Pop takes the top.\nfunc (s *Stack[T]) Pop(n int) int {\n\treturn n\n}\n\n"
        "type Stack struct {\n\tx int\n}\n\nfunc Run() {}\n",
        {"Stack.Pop": "method", "Stack": "type", "Run": "function"},
        ("Stack.Pop", "a.go Stack: func (s *Stack[T]) Pop(n int) int", "Pop takes the top."),
    ),
    "a.rs": (
        "/// A pile.\n#[derive(Debug)]\npub struct Stack { x: i32 }\n\n"
        "impl<T> Stack<T> {\n    /// Takes the top.\n    #[inline]\n"
        "    pub fn pop(&mut self) -> i32 { 1 }\n}\n"
        "mod m { fn g() {} }\ntrait T { fn z(&self) {} }\n",
        {
            "Stack": "type",
            "Stack.pop": "method",
            "m.g": "function",
            "T": "class",
            "T.z": "method",
        },
        ("Stack.pop", "a.rs Stack: pub fn pop(&mut self) -> i32", "Takes the top."),
    ),
    "a.rb": (
        "module M\n  # A pile.\n  class Stack < Base\n    # Takes the top.\n    def pop(n)\n"
        "      n\n    end\n    def self.make; end\n  end\nend\n",
        {"M.Stack": "class", "M.Stack.pop": "method", "M.Stack.make": "method"},
        ("M.Stack.pop", "a.rb M.Stack: def pop(n)", "Takes the top."),
    ),
    "a.php": (
        "<?php\n/** A pile. */\nclass Stack {\n  /** Takes the top. */\n"
        "  public function pop($n) { return $n; }\n}\nfunction run() {}\n",
        {"Stack": "class", "Stack.pop": "method", "run": "function"},
        ("Stack.pop", "a.php Stack: public function pop($n)", "Takes the top."),
    ),
    "a.sql": (
        "-- People.\nCREATE TABLE shop.users (\n  id INT\n);\n\nCREATE VIEW names AS SELECT 1;\n"
        "CREATE FUNCTION one() RETURNS int AS $$ select 1 $$ LANGUAGE sql;\nselect 1;\n",
        {"shop.users": "type", "names": "type", "one": "function"},
        ("shop.users", "a.sql CREATE TABLE shop.users (", "People."),
    ),
    "a.sh": (
        "#!/bin/sh\n# Says hello.\nhello() {\n  echo hi\n}\n\nfunction bye { echo bye; }\n",
        {"hello": "function", "bye": "function"},
        ("hello", "a.sh hello()", "Says hello."),
    ),
}


def read(path: Path, name: str = "code") -> tuple[list[Document], Rejects]:
    rejects = Rejects(None)
    return list(READERS.resolve(name)(path, options=ReadOptions(), rejects=rejects)), rejects


def test_every_language_has_a_sample():
    """A language that is listed and not tested is a promise without proof."""
    assert {Path(name).suffix for name in SAMPLES} >= {lang.suffixes[0] for lang in LANGUAGES}


@pytest.mark.parametrize("name", SAMPLES)
def test_symbols_of_each_language(tmp_path, name):
    """Kinds and qualified names, head and summary, and lines that lead back to the source."""
    source, kinds, (symbol, title, summary) = SAMPLES[name]
    (tmp_path / name).write_text(source)
    documents, rejects = read(tmp_path / name)
    found = {d.metadata["symbol"]: d.metadata["kind"] for d in documents}
    assert found == kinds
    assert rejects.skipped == {}
    (document,) = [d for d in documents if d.metadata["symbol"] == symbol]
    assert document.doc_id == f"{name}::{symbol}"
    assert document.title == title
    assert [part.path for part in document.sections] == ([(summary,)] if summary else [])
    lines = source.split("\n")
    for each in documents:
        start, end = each.metadata["start_line"], each.metadata["end_line"]
        where = [line.strip() for line in lines[start - 1 : end]]
        assert each.text.split("\n")[0].strip() == where[0]
        assert {line.strip() for line in each.text.split("\n")} <= {*where, ""}


def test_a_class_does_not_repeat_its_methods(tmp_path):
    """Bodies of methods stand in their own documents; in the class their signatures stay."""
    body = "\n".join(f"    step{n}();" for n in range(5))
    (tmp_path / "a.js").write_text(f"class A {{\n  run() {{\n{body}\n  }}\n  x = 1\n}}\n")
    outer, method = read(tmp_path / "a.js")[0]
    assert outer.text == "class A {\n  run() {\n  x = 1\n}"
    assert "step4();" in method.text


def test_a_class_keeps_the_whole_signature_of_its_methods(tmp_path):
    """Annotations and parameters on lines of their own are part of it."""
    (tmp_path / "A.java").write_text(
        "class A {\n  @Override\n  int f(\n      int a) {\n    return a;\n  }\n}\n"
    )
    outer, _ = read(tmp_path / "A.java")[0]
    assert outer.text == "class A {\n  @Override\n  int f(\n      int a) {\n}"


@pytest.mark.parametrize(
    ("name", "code", "symbols"),
    [
        (
            "a.go",
            "type (\n\t// A is one.\n\tA struct{ x int }\n\tB interface{ F() }\n)\n",
            ["A", "B"],
        ),
        (
            "a.js",
            "exports.f = function () {}\nA.prototype.g = () => 1\n",
            ["exports.f", "A.prototype.g"],
        ),
        ("a.cpp", "class V { int& operator[](int i) { return d[i]; } };\n", ["V", "V.operator[]"]),
        ("a.h", "namespace n {\nclass V { void f() { } };\n}\n", ["n.V", "n.V.f"]),
        ("b.h", "struct p { int x; };\nint f(void) { return 1; }\n", ["p", "f"]),
    ],
)
def test_symbols_in_less_common_forms(tmp_path, name, code, symbols):
    (tmp_path / name).write_text(code)
    assert [d.metadata["symbol"] for d in read(tmp_path / name)[0]] == symbols


def test_signatures_end_before_the_body_and_keep_their_types(tmp_path):
    (tmp_path / "a.rs").write_text("fn pop(&mut self) -> Option<T> { None }\n")
    (tmp_path / "a.ts").write_text("const add = (a: A<B>): A<B> => a\n")
    titles = [d.title for d in read(tmp_path)[0]]
    assert titles == ["a.rs fn pop(&mut self) -> Option<T>", "a.ts const add = (a: A<B>): A<B>"]


def test_names_that_repeat_get_their_line(tmp_path):
    """Overloads are told apart, and both are there."""
    (tmp_path / "A.java").write_text("class A {\n int f(int a) {}\n int f(long a) {}\n}\n")
    assert [d.doc_id for d in read(tmp_path / "A.java")[0]] == [
        "A.java::A",
        "A.java::A.f",
        "A.java::A.f:3",
    ]


def test_code_outside_of_symbols_is_a_document_where_it_is_much(tmp_path):
    """A script's commands are found too; a few imports are none."""
    (tmp_path / "a.sh").write_text("f() { x; }\n" + "curl --fail https://example.org/file\n" * 10)
    assert [d.doc_id for d in read(tmp_path / "a.sh")[0]] == ["a.sh::f", "a.sh"]
    (tmp_path / "b.sh").write_text("set -e\nf() { x; }\n")
    assert [d.doc_id for d in read(tmp_path / "b.sh")[0]] == ["b.sh::f"]


def test_python_that_does_not_parse_goes_through_its_grammar(tmp_path):
    """Python 2 is no syntax of ours, and its functions are found all the same."""
    (tmp_path / "old.py").write_text("def f(x):\n    print 'hi', x\n\ndef g(): pass\n")
    documents, rejects = read(tmp_path / "old.py")
    assert [d.metadata["symbol"] for d in documents] == ["f", "g"]
    assert rejects.n_rejected == 0


def test_a_grammar_that_fails_falls_back_to_lines_and_is_counted(tmp_path):
    """Nothing is lost where no symbol is found in what cannot be parsed."""
    text = "}}}} @@@ not go at all (((\n" * 5
    (tmp_path / "bad.go").write_text(text)
    (document,), rejects = read(tmp_path / "bad.go")
    assert document.text == text.strip("\n")
    assert rejects.noted == {"read by lines": 1}


def test_rules_leave_files_out_and_count_them(tmp_path):
    """Minified, generated, vendored, binary, lock files and ignored ones: each has its count."""
    files = {
        "src/ok.js": b"function ok() {}\n",
        "src/app.min.js": b"function a(){}",
        "src/bundle.js": b"var a=" + b"1+" * 8000 + b"1;",
        "src/gen.go": b"// Code generated by protoc. DO NOT EDIT.\npackage a\nfunc F() {}\n",
        "src/x_pb2.py": b"def f(): pass\n",
        "src/bin.c": b"\x7fELF\0\0",
        "src/empty.c": b"\n",
        "node_modules/a/index.js": b"function vendored() {}\n",
        "package-lock.json": b"{}",
        "build/out.js": b"function out() {}\n",
        "secret/a.js": b"function hidden() {}\n",
        "logo.png": b"\x89PNG",
        ".gitignore": b"/build/\n*.log\n",
        ".lbrignore": b"secret\n",
        "a.log": b"text",
        "docs/keep.md": b"# Doc\n\nWords.\n",
    }
    for name, data in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(data)
    documents, rejects = read(tmp_path, "files")
    assert [d.doc_id for d in documents] == ["docs/keep.md", "src/ok.js::ok"]
    assert documents[1].title == "src/ok.js function ok()"
    assert rejects.n_rejected == 0
    assert rejects.skipped == {
        "binary": 1,
        "empty": 1,
        "generated": 3,
        "ignored": 3,
        "lock file": 1,
        "minified": 1,
        "no reader for .png": 1,
        "vendored": 1,
    }


def test_ignore_files_follow_gits_rules(tmp_path):
    """Deeper files win, a leading exclamation mark takes back, a slash binds to the folder."""
    files = {
        ".gitignore": "*.txt\n!keep.txt\n/top.md\n",
        "a.txt": "x",
        "keep.txt": "x",
        "top.md": "x",
        "sub/top.md": "x",
        "sub/.gitignore": "!b.txt\n",
        "sub/b.txt": "x",
        "sub/c.txt": "x",
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    documents, _ = read(tmp_path, "files")
    assert [d.doc_id for d in documents] == ["keep.txt", "sub/b.txt", "sub/top.md"]


def test_a_repository_is_detected_with_its_domain(tmp_path):
    """A folder that is mostly code is read file by file, and belongs to the domain code."""
    (tmp_path / "a.go").write_text("package a\n")
    (tmp_path / "b.rs").write_text("fn f() {}\n")
    (tmp_path / "README.md").write_text("# R\n")
    assert detect_reader(tmp_path) == "files"
    assert resolve_source(str(tmp_path), tmp_path).domain == "code"
    (tmp_path / "c.txt").write_text("x")
    assert resolve_source(str(tmp_path), tmp_path).domain == ""
