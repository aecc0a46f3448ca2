"""A recipe's sources as one small folder that travels: cleaned, packed, and cut to a size."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import tomli_w

from lbr_search.corpus.compressed import COMPRESSIONS, open_writer
from lbr_search.errors import ConfigError
from lbr_search.train.cleaning import CLOZE, PAIRS, STRUCTURE, TEXT, Cleaner
from lbr_search.train.data import pair_sources
from lbr_search.train.recipe import Recipe, recipe_mapping

RECIPE_FILE = "recipe.toml"
_PATIENCE = 8
"""Tries to cut a source to its share; each cuts what the last one was too large by."""


@dataclass(frozen=True, slots=True)
class Packed:
    """One source in the folder: new name, rows kept and cut, bytes, and what cleaning counted."""

    name: str
    weight: float
    n_rows: int
    n_cut: int
    size_bytes: int
    counts: Mapping[str, int]


@dataclass(slots=True)
class _Source:
    name: str
    weight: float
    kind: str
    path: Path
    rows: list[str]
    counts: dict[str, int]
    n_kept: int
    size_bytes: int


def pack(
    recipe: Recipe,
    folder: Path,
    *,
    out: Path,
    max_bytes: int,
    progress: Callable[[str], None] | None = None,
) -> list[Packed]:
    """Write the sources without duplicates and held-out texts, and a recipe that names them.

    Texts of which sentences ask for their passage are packed as texts: the pairs are made again
    where they are used, and take no room. A file keeps its place and name, packed with xz unless
    its name says otherwise; a folder becomes one file. Where all together are too large, each gets
    a part of the room in proportion to its weight, small ones leave what they do not need to the
    others, and rows go evenly over a source.

    Args:
        recipe: whose sources are packed; `held_out` is done with.
        folder: what their names are relative to.
        out: folder to write; `RECIPE_FILE` in it comes last.
        max_bytes: of all sources together.
        progress: told what is being done.

    Raises:
        CorpusError: a source is missing, or nothing of it is left.
        ConfigError: the room is too small for a single row of a source.
    """
    tell = progress or (lambda _: None)
    cleaner = Cleaner(recipe.data, folder)
    texts = {**recipe.data.cloze, **recipe.data.text}
    wanted = [(name, weight, TEXT) for name, weight in texts.items()]
    wanted += [source for source in pair_sources(recipe.data) if source[2] != CLOZE]
    sources = []
    for name, weight, kind in wanted:
        tell(f"clean and pack {name}")
        rows, counts = _rows(cleaner, name, kind)
        packed = packed_name(name, kind)
        source = _Source(packed, weight, kind, out / packed, rows, counts, len(rows), 0)
        _write(source, len(rows))
        sources.append(source)
    sizes = [source.size_bytes for source in sources]
    for source, room in zip(
        sources, shares(sizes, [s.weight for s in sources], max_bytes), strict=True
    ):
        if source.size_bytes > room:
            tell(f"cut {source.name} to {room / 1e6:.1f} MB")
            _cut(source, room)
    _write_recipe(recipe, sources, out)
    return [
        Packed(s.name, s.weight, s.n_kept, len(s.rows) - s.n_kept, s.size_bytes, s.counts)
        for s in sources
    ]


def packed_name(name: str, kind: str) -> str:
    """Where a source stands in the folder: the same place, below it.

    >>> packed_name("pairs/code/a.jsonl.gz", "pairs"), packed_name("text/b.jsonl", "text")
    ('pairs/code/a.jsonl.gz', 'text/b.jsonl.xz')
    >>> packed_name("corpora/demo/medical", "structure"), packed_name("/home/me/notes", "text")
    ('corpora/demo/medical.pairs.jsonl.xz', 'notes.text.jsonl.xz')
    """
    path = Path(name)
    relative = path.name if path.is_absolute() or ".." in path.parts else path.as_posix()
    if path.suffix in COMPRESSIONS and path.stem.endswith(".jsonl"):
        return relative
    if path.suffix == ".jsonl":
        return f"{relative}.xz"
    return f"{relative}.{TEXT if kind == TEXT else PAIRS}.jsonl.xz"


def shares(sizes: Sequence[int], weights: Sequence[float], room: int) -> list[int]:
    """Room of each source: by weight, but none gets more than its size.

    >>> shares([10, 100, 100], [1.0, 1.0, 2.0], 100), shares([10, 20], [1.0, 1.0], 100)
    ([10, 30, 60], [10, 20])
    """
    given = [0] * len(sizes)
    open_ones, left = list(range(len(sizes))), room
    while open_ones:
        total = sum(weights[i] for i in open_ones)
        small = [i for i in open_ones if sizes[i] <= left * weights[i] / total]
        if not small:
            for i in open_ones:
                given[i] = int(left * weights[i] / total)
            break
        for i in small:
            given[i] = sizes[i]
        left -= sum(sizes[i] for i in small)
        open_ones = [i for i in open_ones if i not in small]
    return given


def _rows(cleaner: Cleaner, name: str, kind: str) -> tuple[list[str], dict[str, int]]:
    if kind == TEXT:
        texts, counts = cleaner.texts(name)
        records = [{"id": str(n), "title": "", "text": text} for n, text in enumerate(texts)]
        return [json.dumps(record, ensure_ascii=False) for record in records], counts
    pairs, counts = cleaner.pairs(name, kind)
    rows = [
        {
            "query": pair.query,
            "title": "",
            "positive": pair.passage,
            "group": "" if pair.group == pair.passage else pair.group,  # as reading fills it in
        }
        for pair in pairs
    ]
    return [json.dumps(row, ensure_ascii=False) for row in rows], counts


def _cut(source: _Source, room: int) -> None:
    n_kept = len(source.rows)
    for _ in range(_PATIENCE):
        n_kept = int(n_kept * room / source.size_bytes * 0.99)
        if n_kept < 1:
            break
        _write(source, n_kept)
        if source.size_bytes <= room:
            return
    raise ConfigError(
        f"{source.name} does not fit into {room:,} bytes, its share by weight.",
        "raise --max-mb, or leave sources out with --set",
    )


def _write(source: _Source, n_rows: int) -> None:
    """`n_rows` rows, evenly spaced, so that a cut source still has all that it is about."""
    source.path.parent.mkdir(parents=True, exist_ok=True)
    partial = source.path.with_name(f".partial-{source.path.name}")
    with open_writer(partial) as stream:
        for number in range(n_rows):
            stream.write(source.rows[number * len(source.rows) // n_rows] + "\n")
    partial.rename(source.path)
    source.n_kept, source.size_bytes = n_rows, source.path.stat().st_size


def _write_recipe(recipe: Recipe, sources: Sequence[_Source], out: Path) -> None:
    text = {packed_name(name, TEXT): weight for name, weight in recipe.data.text.items()}
    cloze = {packed_name(name, TEXT): weight for name, weight in recipe.data.cloze.items()}
    pairs = {s.name: s.weight for s in sources if s.kind != TEXT}
    before = {packed_name(name, TEXT): name for name in recipe.data.text}
    before |= {packed_name(name, TEXT): name for name in recipe.data.cloze}
    before |= {packed_name(name, PAIRS): name for name in recipe.data.pairs}
    before |= {packed_name(name, STRUCTURE): name for name in recipe.data.structure}
    licences = {
        new: recipe.data.licences[old] for new, old in before.items() if old in recipe.data.licences
    }
    data = dataclasses.replace(
        recipe.data,
        text=text,
        pairs=pairs,
        structure={},
        cloze=cloze,
        licences=licences,
        held_out="",
        near_duplicate=1.0,  # they are out already, and looking for them takes longest
    )
    mapping = recipe_mapping(dataclasses.replace(recipe, data=data))
    partial = out / f"{RECIPE_FILE}.partial"
    partial.write_text(tomli_w.dumps(mapping), "utf-8")
    partial.rename(out / RECIPE_FILE)
