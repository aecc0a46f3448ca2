"""What of a source may be trained on: without duplicates, held-out texts and what is no pair."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from lbr_search.corpus.duplicates import near_duplicates
from lbr_search.corpus.overlap import HeldOut, held_out_of
from lbr_search.corpus.rejects import Rejects
from lbr_search.corpus.suite import discover_suites
from lbr_search.errors import CorpusError
from lbr_search.train.cloze import cloze_pairs
from lbr_search.train.recipe import DataConfig
from lbr_search.train.sources import read_pairs, read_structure, read_text, source_path

TEXT, PAIRS, STRUCTURE, CLOZE = KINDS = ("text", "pairs", "structure", "cloze")
"""The tables of [data] that name sources."""


@dataclass(frozen=True, slots=True)
class CleanPair:
    """A pair that is left; `group` is the passage where the source names none."""

    query: str
    passage: str
    group: str


class Cleaner:
    """Reads the sources of a recipe and leaves out what training must not or need not see.

    Args:
        config: sources, limits, and the suites that are held out.
        folder: what their names are relative to.

    Raises:
        CorpusError: the folder of held-out suites is missing.
    """

    def __init__(self, config: DataConfig, folder: Path) -> None:
        self._config = config
        self._folder = folder
        self.suites = _held_out_suites(folder, config.held_out)

    @cached_property
    def held_out(self) -> HeldOut:
        """Made when a source has to be read, and not before: it takes seconds."""
        return held_out_of(self.suites)

    def texts(self, name: str) -> tuple[list[str], dict[str, int]]:
        """Texts of a source, and what was counted while reading it.

        Raises:
            CorpusError: the source is missing or damaged, or nothing of it is left.
        """
        path, rejects = source_path(self._folder, name), Rejects(None)
        texts, n_past_limit = _upto(read_text(path, rejects=rejects), self._config.max_text_chars)
        unique = list(dict.fromkeys(texts))
        allowed = [text for text in unique if not self.held_out.overlaps(text)]
        earlier = _earlier(allowed, self._config.near_duplicate)
        kept = [text for text, match in zip(allowed, earlier, strict=True) if match < 0]
        counts = {
            "documents": len(kept),
            "duplicates_dropped": len(texts) - len(unique),
            "held_out": len(unique) - len(allowed),
            "near_duplicates": len(allowed) - len(kept),
            "past_limit": n_past_limit,
            **rejects.by_reason,
        }
        if not kept:
            raise _nothing_left(path, TEXT, counts)
        return kept, counts

    def pairs(self, name: str, kind: str) -> tuple[list[CleanPair], dict[str, int]]:
        """Pairs of a source, and what was counted while reading it.

        Args:
            name: of the source.
            kind: `PAIRS`, `STRUCTURE` where its structure makes them, or `CLOZE` where its
                sentences do.

        Raises:
            CorpusError: the source is missing or damaged, or nothing of it is left.
        """
        path, rejects = source_path(self._folder, name), Rejects(None)
        if kind == CLOZE:  # of the texts that training reads, and no others
            texts, _ = _upto(read_text(path, rejects=rejects), self._config.max_text_chars)
            unique, n_read = _unique(cloze_pairs(texts))
        else:
            read = read_structure if kind == STRUCTURE else read_pairs
            unique, n_read = _unique(read(path, rejects=rejects))
        allowed = [
            pair
            for pair in unique
            if not self.held_out.overlaps(pair.query) and not self.held_out.overlaps(pair.passage)
        ]
        kept = _without_near_duplicates(allowed, self._config.near_duplicate)
        counts = {
            "duplicates_dropped": n_read - len(unique),
            "held_out": len(unique) - len(allowed),
            "near_duplicates": len(allowed) - len(kept),
            **rejects.by_reason,
        }
        if not kept:
            raise _nothing_left(path, kind, {"read": n_read, **counts})
        return kept, counts


def _unique(pairs: Iterable[tuple[str, str, str]]) -> tuple[list[CleanPair], int]:
    groups: dict[tuple[str, str], str] = {}
    n_read = 0
    for query, passage, group in pairs:
        n_read += 1
        groups.setdefault((query, passage), group or passage)
    return [CleanPair(*sides, group) for sides, group in groups.items()], n_read


def _without_near_duplicates(pairs: list[CleanPair], threshold: float) -> list[CleanPair]:
    """Pairs without those whose passage nearly repeats an earlier one of another group.

    Within a group such passages are wanted: a definition, and the same with its term before it.
    """
    group_of: dict[str, str] = {}
    for pair in pairs:
        group_of.setdefault(pair.passage, pair.group)
    passages = list(group_of)
    earlier = _earlier(passages, threshold)
    repeated = {
        passage: group_of[passages[match]]
        for passage, match in zip(passages, earlier, strict=True)
        if match >= 0
    }
    return [pair for pair in pairs if repeated.get(pair.passage, pair.group) == pair.group]


def _earlier(texts: list[str], threshold: float) -> Sequence[int]:
    """For each of different texts, the one before that it nearly repeats; -1 = none.

    At a threshold of 1 there is none to find, and the search is most of the time of reading.
    """
    if threshold == 1:
        return [-1] * len(texts)
    found: list[int] = near_duplicates(texts, threshold=threshold).tolist()
    return found


def _upto(texts: Iterator[str], limit: int) -> tuple[list[str], int]:
    """Texts until `limit` characters are reached, the last one whole; and how many follow."""
    taken: list[str] = []
    n_chars = 0
    for text in texts:
        if n_chars >= limit:
            return taken, 1 + sum(1 for _ in texts)
        n_chars += len(text)
        taken.append(text)
    return taken, 0


def _held_out_suites(folder: Path, name: str) -> list[Path]:
    if not name:
        return []
    if not (folder / name).is_dir():
        raise CorpusError(
            f"the held-out suites {name!r} are not under {folder}.",
            "give the folder that holds them with --data DIR, or --set data.held_out=FOLDER",
        )
    return discover_suites(folder / name)


def _nothing_left(path: Path, kind: str, counts: dict[str, int]) -> CorpusError:
    what = "text" if kind == TEXT else "pair"
    found = ", ".join(f"{name.replace('_', ' ')} {n:,}" for name, n in counts.items() if n)
    wanted = "text" if kind == TEXT else "queries and positives that differ and are not empty"
    return CorpusError(
        f"{path} leaves no {what} to train on: {found or 'it is empty'}.",
        f"give a source with {wanted}, or leave this one out",
    )
