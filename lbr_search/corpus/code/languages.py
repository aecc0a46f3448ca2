"""The programming languages that are cut by their grammar: suffixes and names of syntax nodes."""

from __future__ import annotations

import functools
import importlib
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from lbr_search.errors import MissingExtraError

if TYPE_CHECKING:
    from tree_sitter import Parser

FUNCTION, CLASS, TYPE = "function", "class", "type"


@dataclass(frozen=True, slots=True)
class Language:
    """What of a grammar is a symbol. Node names are those of its tree-sitter grammar."""

    name: str
    suffixes: tuple[str, ...]
    grammar: str
    """Module, and where it is not ``language`` a colon and the function in it."""
    functions: frozenset[str]
    classes: frozenset[str] = frozenset()
    """Symbols whose functions are symbols too."""
    types: frozenset[str] = frozenset()
    """Symbols without functions: enumerations, structures, tables of a database."""
    scopes: frozenset[str] = frozenset()
    """What gives its name to symbols inside and is none itself: namespaces, Rust's impl."""
    wrappers: frozenset[str] = field(default=frozenset({"decorated_definition"}))
    """Nodes around a symbol that belong to it: exports, templates, attributes."""


def _of(words: str) -> frozenset[str]:
    return frozenset(words.split())


_JS_FUNCTIONS = "function_declaration generator_function_declaration method_definition"
_JS_WRAPPERS = "export_statement lexical_declaration variable_declaration expression_statement"

LANGUAGES = (
    Language(
        "python",
        (".py", ".pyi"),
        "tree_sitter_python",
        _of("function_definition"),
        _of("class_definition"),
    ),
    Language(
        "javascript",
        (".js", ".jsx", ".mjs", ".cjs"),
        "tree_sitter_javascript",
        _of(_JS_FUNCTIONS),
        _of("class_declaration"),
        wrappers=_of(_JS_WRAPPERS),
    ),
    *(
        Language(
            "typescript",
            suffixes,
            f"tree_sitter_typescript:{function}",
            _of(_JS_FUNCTIONS),
            _of("class_declaration abstract_class_declaration"),
            _of("interface_declaration enum_declaration type_alias_declaration"),
            _of("internal_module module"),
            _of(f"{_JS_WRAPPERS} ambient_declaration"),
        )
        for suffixes, function in (
            ((".ts", ".mts", ".cts"), "language_typescript"),
            ((".tsx",), "language_tsx"),
        )
    ),
    Language(
        "java",
        (".java",),
        "tree_sitter_java",
        _of("method_declaration constructor_declaration compact_constructor_declaration"),
        _of("class_declaration interface_declaration enum_declaration record_declaration"),
        _of("annotation_type_declaration"),
    ),
    Language(
        "c",
        (".c", ".h"),
        "tree_sitter_c",
        _of("function_definition"),
        types=_of("struct_specifier union_specifier enum_specifier type_definition"),
    ),
    Language(
        "c++",
        (".cpp", ".cc", ".cxx", ".hpp", ".hh", ".hxx", ".cu", ".cuh"),
        "tree_sitter_cpp",
        _of("function_definition"),
        _of("class_specifier struct_specifier"),
        _of("union_specifier enum_specifier type_definition concept_definition"),
        _of("namespace_definition"),
        _of("template_declaration"),
    ),
    Language(
        "c#",
        (".cs",),
        "tree_sitter_c_sharp",
        _of("method_declaration constructor_declaration operator_declaration"),
        _of("class_declaration struct_declaration interface_declaration record_declaration"),
        _of("enum_declaration delegate_declaration"),
        _of("namespace_declaration"),
    ),
    Language(
        "go",
        (".go",),
        "tree_sitter_go",
        _of("function_declaration method_declaration"),
        types=_of("type_spec type_alias"),
        wrappers=_of("type_declaration"),
    ),
    Language(
        "rust",
        (".rs",),
        "tree_sitter_rust",
        _of("function_item macro_definition"),
        _of("trait_item"),
        _of("struct_item enum_item union_item type_item"),
        _of("impl_item mod_item"),
    ),
    Language(
        "ruby",
        (".rb", ".rake"),
        "tree_sitter_ruby",
        _of("method singleton_method"),
        _of("class"),
        scopes=_of("module"),
    ),
    Language(
        "php",
        (".php",),
        "tree_sitter_php:language_php",
        _of("function_definition method_declaration"),
        _of("class_declaration interface_declaration trait_declaration enum_declaration"),
    ),
    Language(
        "sql",
        (".sql",),
        "tree_sitter_sql",
        _of("create_function create_procedure create_trigger"),
        types=_of("create_table create_view create_materialized_view create_type create_schema"),
        wrappers=_of("statement"),
    ),
    Language("shell", (".sh", ".bash", ".zsh"), "tree_sitter_bash", _of("function_definition")),
)

LANGUAGE_OF = {suffix: language for language in LANGUAGES for suffix in language.suffixes}
CODE_SUFFIXES = tuple(LANGUAGE_OF)


_CPP_HEADER = re.compile(r"^\s*(namespace\b|class\s+\w|template\s*<|using\s+\w)", re.MULTILINE)


def language_of(file: Path, text: str) -> Language:
    """The language of a file, by its suffix, which must be one of `CODE_SUFFIXES`.

    A header (.h) is C++ where a line begins with what C does not have.
    """
    suffix = file.suffix.lower()
    return LANGUAGE_OF[".hpp" if suffix == ".h" and _CPP_HEADER.search(text) else suffix]


@functools.cache
def parser_of(language: Language) -> Parser:
    """The parser of a language.

    Raises:
        MissingExtraError: tree-sitter or the grammar is not installed.
    """
    module, _, function = language.grammar.partition(":")
    try:
        import tree_sitter

        grammar = getattr(importlib.import_module(module), function or "language")()
    except ModuleNotFoundError as error:
        raise MissingExtraError(
            f"{language.name} files need the package {error.name!r}, which is not installed.",
            'pip install "lbr-search[code]"',
        ) from error
    return tree_sitter.Parser(tree_sitter.Language(grammar))
