"""The files below a folder, in a stable order, without what its ignore files name."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pathspec

from lbr_search.errors import CorpusError

IGNORE_FILES = (".gitignore", ".lbrignore")
"""Patterns as git reads them; those of a deeper folder, and of .lbrignore, come later and win."""

_LEFT_OUT = {"__pycache__", "site-packages"}

Rules = tuple[tuple[str, pathspec.GitIgnoreSpec], ...]
"""(Folder, with a slash at its end, and the patterns that stand in it), outermost first."""
OnIgnored = Callable[[Path], None]
"""Told of each file and folder that an ignore file names."""


def walk_tree(folder: Path, on_ignored: OnIgnored | None = None) -> Iterator[Path]:
    """Regular files below `folder`, by name.

    Hidden names, ``__pycache__``, ``site-packages`` and virtual environments are left out. Links
    to folders are not followed, so a loop of links ends; links to files are.

    Raises:
        CorpusError: a folder cannot be listed, or an ignore file cannot be read.
    """
    yield from _walk(str(folder), _entries(str(folder)), (), on_ignored)


def _walk(
    folder: str, entries: list[os.DirEntry[str]], rules: Rules, on_ignored: OnIgnored | None
) -> Iterator[Path]:
    rules = (*rules, *_rules_of(folder, {entry.name for entry in entries}))
    for entry in entries:
        if entry.name.startswith(".") or entry.name in _LEFT_OUT:
            continue
        is_folder = entry.is_dir(follow_symlinks=False)
        if not is_folder and not entry.is_file():  # sockets, broken links, links to folders
            continue
        if rules and _is_ignored(entry.path + ("/" if is_folder else ""), rules):
            if on_ignored is not None:
                on_ignored(Path(entry.path))
        elif is_folder:
            inner = _entries(entry.path)
            if not any(one.name == "pyvenv.cfg" for one in inner):
                yield from _walk(entry.path, inner, rules, on_ignored)
        else:
            yield Path(entry.path)


def _entries(folder: str) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as found:
            return sorted(found, key=lambda entry: entry.name)
    except OSError as error:
        raise CorpusError(
            f"{folder} cannot be listed: {error.strerror}.", f"check it with ls -ld {folder}"
        ) from error


def _rules_of(folder: str, names: set[str]) -> Iterator[tuple[str, pathspec.GitIgnoreSpec]]:
    for name in IGNORE_FILES:
        if name not in names:
            continue
        file = Path(folder, name)
        try:
            lines = file.read_text("utf-8-sig", errors="replace").splitlines()
            yield folder.rstrip("/") + "/", pathspec.GitIgnoreSpec.from_lines(lines)
        except (OSError, ValueError) as error:  # ValueError: a pattern that git refuses too
            raise CorpusError(f"{file} cannot be read: {error}.", f"edit {file}") from error


def _is_ignored(path: str, rules: Rules) -> bool:
    """What the last pattern that matches says; `path` of a folder ends in a slash."""
    for folder, spec in reversed(rules):
        decision = spec.check_file(path[len(folder) :]).include
        if decision is not None:
            return decision
    return False
