"""A syntax tree -> the functions, methods, classes and types of a file."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lbr_search.corpus.code.languages import CLASS, FUNCTION, TYPE, Language, parser_of
from lbr_search.corpus.outline import one_line

if TYPE_CHECKING:
    from tree_sitter import Node

_MAX_SIGNATURE_CHARS = 240
_MARKS = re.compile(r"^\s*(/\*\*?|\*/|\*|///?!?|#+!?|--+|\"\"\"|''')|(\*/)\s*$", re.MULTILINE)
_SIGNATURE_END = re.compile(r"(\s|=>|[{:=;])*$")
_TAGS = re.compile(r"<[^>]+>")
_COMMENTS = frozenset({"comment", "line_comment", "block_comment", "marginalia"})
_BESIDE = frozenset({"attribute_item", "attribute_list", "decorator", "annotation"})
"""What may stand between a comment and its symbol."""
_FUNCTION_VALUES = frozenset({"arrow_function", "function_expression", "generator_function"})
_NAMES = ("name", "declarator", "type")
"""Fields that lead to a name; C nests it in declarators, Rust's impl has a type."""
_MAX_DEPTH = 200


@dataclass(frozen=True, slots=True)
class CodeSymbol:
    """A symbol by its lines in the file; 0-based, half-open."""

    name: str
    kind: str
    """function, method, class or type."""
    enclosing: str
    """Names around it, joined by dots; "" at the top."""
    signature: str
    summary: str
    """The first sentence of its comment, "" without one."""
    start: int
    """Line at which its comment begins."""
    code: int
    """Line after the comment."""
    body: int
    """Line after that on which the body begins: before it stand attributes and signature."""
    end: int


def symbols_of(source: bytes, language: Language) -> tuple[list[CodeSymbol], bool]:
    """The symbols of a file in order, and whether the grammar met what it does not know.

    Functions inside functions belong to the outer one.
    """
    root = parser_of(language).parse(source).root_node
    found = list(_walk(root, language, (), {}, is_in_class=False, depth=0))
    return found, root.has_error


Siblings = dict[int, "Node"]
"""Id of a node -> the sibling before it. Asking the tree takes time with every node before it."""


def _walk(
    parent: Node,
    language: Language,
    scope: tuple[str, ...],
    siblings: Siblings,
    *,
    is_in_class: bool,
    depth: int,
) -> Iterator[CodeSymbol]:
    if depth > _MAX_DEPTH:
        return
    children = parent.children
    siblings.update((right.id, left) for left, right in itertools.pairwise(children))
    for node in children:
        kind = _kind(node, language)
        if kind is None:
            is_scope = node.type in language.scopes
            inner = (*scope, _name(node)) if is_scope and _name(node) else scope
            in_class = is_in_class or node.type == "impl_item"
            if node.child_count and not node.type.endswith(("comment", "string")):
                yield from _walk(
                    node, language, inner, siblings, is_in_class=in_class, depth=depth + 1
                )
            continue
        name = _name(node)
        if not name:
            continue
        receiver = _receiver(node)
        around = (*scope, receiver) if receiver else scope
        is_method = kind == FUNCTION and (is_in_class or receiver or "::" in name)
        kind = "method" if is_method else kind
        yield _symbol(node, language, siblings, name=name, scope=around, kind=kind)
        if kind == CLASS:
            yield from _walk(
                node, language, (*scope, name), siblings, is_in_class=True, depth=depth + 1
            )


def _kind(node: Node, language: Language) -> str | None:
    kind = node.type
    if kind in language.functions:
        return FUNCTION
    if kind in language.classes or kind in language.types:
        # `struct point p;` names a type and defines none
        is_use = kind.endswith("_specifier") and node.child_by_field_name("body") is None
        is_alias = kind == "type_definition" and not _has_body(node)
        return None if is_use or is_alias else CLASS if kind in language.classes else TYPE
    if kind in ("variable_declarator", "public_field_definition", "field_definition"):
        value = node.child_by_field_name("value")
        return FUNCTION if value is not None and value.type in _FUNCTION_VALUES else None
    if kind == "assignment_expression":  # exports.f = function () { ... }
        value = node.child_by_field_name("right")
        return FUNCTION if value is not None and value.type in _FUNCTION_VALUES else None
    return None


def _has_body(node: Node) -> bool:
    kind = node.child_by_field_name("type")
    return kind is not None and kind.child_by_field_name("body") is not None


def _name(node: Node) -> str:
    """Follow the fields that lead to the name of a symbol."""
    if node.type == "assignment_expression":
        return one_line(_text(node.child_by_field_name("left")))[:_MAX_SIGNATURE_CHARS]
    if node.type == "type_definition":
        declarator = node.child_by_field_name("declarator")
        return _text(declarator)
    if node.type == "impl_item":
        return _text(node.child_by_field_name("type")).split("<")[0]
    seen = 0
    while seen < 10:
        seen += 1
        fields = (node.child_by_field_name(name) for name in _NAMES[:2])
        inner = next((one for one in fields if one is not None), None)
        if inner is None and node.type == "reference_declarator" and node.named_children:
            inner = node.named_children[-1]  # C++: & and the declarator, in no field
        if inner is None:
            break
        node = inner
        if node.type in ("qualified_identifier", "destructor_name", "operator_name"):
            break
    if node.child_count and node.type.startswith("create_"):  # SQL: the first object named
        named = next((one for one in node.children if one.type == "object_reference"), None)
        return _text(named)
    is_name = seen > 1 or node.type.endswith("identifier")
    return one_line(_text(node))[:_MAX_SIGNATURE_CHARS] if is_name else ""


def _receiver(node: Node) -> str:
    """Of a Go method: the type that it belongs to."""
    receiver = node.child_by_field_name("receiver") if node.type == "method_declaration" else None
    if receiver is None:
        return ""
    words = re.findall(r"\w+", _text(receiver).split("[")[0])
    return words[-1] if words else ""


def _symbol(
    node: Node,
    language: Language,
    siblings: Siblings,
    *,
    name: str,
    scope: tuple[str, ...],
    kind: str,
) -> CodeSymbol:
    outer = node
    while (parent := outer.parent) is not None and parent.type in language.wrappers:
        if sum(one.type == outer.type for one in parent.children) > 1:
            break  # one of several of a declaration: a comment may stand before each
        outer = parent
    first = outer
    comments: list[str] = []
    while (before := _before(first, siblings)) is not None:
        is_comment = before.type in _COMMENTS and not (before.text or b"").startswith(b"#!")
        is_apart = first.start_point[0] - _last_line(before) > 1
        is_behind = is_comment and _ends_a_line_of_code(before, siblings)
        if not (is_comment or before.type in _BESIDE) or is_apart or is_behind:
            break
        if is_comment:
            comments.append(_text(before))
        first = before
    # attributes between comment and symbol are part of the code
    code = outer
    while (before := siblings.get(code.id)) is not None and before.type in _BESIDE:
        if code.start_point[0] - _last_line(before) > 1:
            break
        code = before
    return CodeSymbol(
        name=name,
        kind=kind,
        enclosing=".".join(scope),
        signature=_signature(node, outer),
        summary=first_sentence("\n".join(reversed(comments))),
        start=first.start_point[0] if comments else code.start_point[0],
        code=code.start_point[0],
        body=(_body(node) or code).start_point[0] + 1,
        end=_last_line(outer) + 1,
    )


def _before(node: Node, siblings: Siblings) -> Node | None:
    """What stands before a node; Ruby keeps the first comment of a class outside of its body."""
    before = siblings.get(node.id)
    if before is None and (parent := node.parent) is not None and parent.type == "body_statement":
        return siblings.get(parent.id)
    return before


def _last_line(node: Node) -> int:
    """Line of the last character; some grammars let a comment take its line end."""
    line, column = node.end_point
    return line - 1 if column == 0 and line > node.start_point[0] else line


def _ends_a_line_of_code(comment: Node, siblings: Siblings) -> bool:
    before = siblings.get(comment.id)
    return before is not None and _last_line(before) == comment.start_point[0]


def _body(node: Node) -> Node | None:
    """What stands behind the signature."""
    for name in ("value", "right"):  # const f = function () { ... }
        value = node.child_by_field_name(name)
        if value is not None and value.type in _FUNCTION_VALUES:
            node = value
    named = node.child_by_field_name("body")
    return named or next((one for one in node.children if one.type.endswith("_body")), None)


def _signature(node: Node, outer: Node) -> str:
    """The text up to the body."""
    body = _body(node)
    source = outer.text or b""
    end = body.start_byte - outer.start_byte if body is not None else source.find(b"\n")
    head = one_line((source[:end] if end > 0 else source).decode("utf-8", "replace"))
    return _SIGNATURE_END.sub("", head[:_MAX_SIGNATURE_CHARS])


def first_sentence(comment: str) -> str:
    """The first sentence of a comment without its marks.

    >>> first_sentence("/** Pops the top. Throws when empty. */")
    'Pops the top.'
    """
    text = one_line(_TAGS.sub(" ", _MARKS.sub(" ", comment)))
    end = re.search(r"[.!?](?=\s|$)| @\w", text)
    if end is None:
        return text[:_MAX_SIGNATURE_CHARS]
    return text[: end.end() if end[0][0] != " " else end.start()].strip()[:_MAX_SIGNATURE_CHARS]


def _text(node: Node | None) -> str:
    return (node.text or b"").decode("utf-8", "replace") if node is not None else ""
