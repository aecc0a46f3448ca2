"""ARCHITECTURE.md is true: its tree is the tree (`python -m tests.test_architecture` writes it)."""

from __future__ import annotations

import ast
from pathlib import Path

PACKAGE = Path(__file__).parent.parent / "lbr_search"
PAGE = PACKAGE / "ARCHITECTURE.md"
BEGIN, END = "<!-- tree:begin -->", "<!-- tree:end -->"


def remark(path: Path) -> str:
    """First line of a module's docstring."""
    docstring = ast.get_docstring(ast.parse(path.read_text("utf-8")))
    assert docstring, f"{path} has no docstring"
    return docstring.splitlines()[0]


def tree() -> str:
    """Every module with its remark, packages after modules."""
    lines = ["```"]
    for path in sorted(PACKAGE.glob("*.py")):
        if path.name != "__init__.py":
            lines.append(f"{path.name:<20}{remark(path)}")
    for folder in sorted(path.parent for path in PACKAGE.glob("*/__init__.py")):
        lines.append(f"{folder.name + '/':<20}{remark(folder / '__init__.py')}")
        for path in sorted(folder.glob("*.py")):
            if not path.name.startswith("__"):
                lines.append(f"  {path.name:<18}{remark(path)}")
        for inner in sorted(path.parent for path in folder.glob("*/__init__.py")):
            lines.append(f"  {inner.name + '/':<18}{remark(inner / '__init__.py')}")
            for path in sorted(inner.glob("*.py")):
                if not path.name.startswith("__"):
                    lines.append(f"    {path.name:<16}{remark(path)}")
    lines += ["recipes/            Training recipes, one TOML file each.", "```"]
    return "\n".join(lines)


def test_the_tree_on_the_page_is_the_tree():
    """A module added, removed or described anew shows on the page."""
    page = PAGE.read_text("utf-8")
    shown = page.split(BEGIN)[1].split(END)[0].strip()
    assert shown == tree(), "run: python -m tests.test_architecture"


if __name__ == "__main__":
    before, rest = PAGE.read_text("utf-8").split(BEGIN)
    PAGE.write_text(f"{before}{BEGIN}\n{tree()}\n{END}{rest.split(END)[1]}", "utf-8")
