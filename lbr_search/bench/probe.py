"""`bench probe`: does an encoder know a domain's terms? True synonyms against hard foils."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Group, RenderableType
from rich.markup import escape
from rich.text import Text

from lbr_search.bench.contamination import training_texts
from lbr_search.bench.probe_terms import KINDS, N_FOILS, ProbeSet, Term, probe_set
from lbr_search.bench.report import COMPARISON_HEADINGS, comparison_cells, rich_table
from lbr_search.bench.results import comparison_json
from lbr_search.bench.significance import Comparison, compare_all
from lbr_search.bench.suites import labels_of
from lbr_search.corpus.overlap import words_of
from lbr_search.errors import ConfigError
from lbr_search.protocols import Encoder

BINS = ((0, 0), (1, 9), (10, 99), (100, None))
"""Times that a term stands in the training text, from and to."""
NOTE = (
    f"Accuracy: the true answer is ranked above all foils ({N_FOILS} of the same source that look "
    "like it: same last word, similar characters); chance is 1 in as many. RR: 1 / its rank. Ties "
    "count against the encoder."
)


@dataclass(frozen=True, slots=True)
class ProbeResult:
    """One encoder on the items of one kind."""

    encoder: str
    kind: str
    reciprocal_ranks: Mapping[str, float]
    """Term -> 1 / rank of its true answer."""
    n_foils: float
    """Mean over items."""

    @property
    def accuracy(self) -> float:
        """Share of terms whose true answer comes first."""
        return float(np.mean([value == 1.0 for value in self.reciprocal_ranks.values()]))

    @property
    def mean_rr(self) -> float:
        """Mean reciprocal rank."""
        return float(np.mean(list(self.reciprocal_ranks.values())))

    def by_frequency(self, counts: Mapping[str, int]) -> list[tuple[str, int, float | None]]:
        """(bin, terms, accuracy) for each of `BINS`; None = no such term."""
        rows = []
        for low, high in BINS:
            found = [
                value == 1.0
                for name, value in self.reciprocal_ranks.items()
                if low <= counts[name] and (high is None or counts[name] <= high)
            ]
            label = f"{low}+" if high is None else f"{low}-{high}" if high != low else f"{low}"
            rows.append((label, len(found), float(np.mean(found)) if found else None))
        return rows


@dataclass(frozen=True, slots=True)
class Probe:
    """What `run_probe` found."""

    results: Sequence[ProbeResult]
    comparisons: Mapping[tuple[str, str, str], Comparison]
    """(kind, encoder, first encoder) -> difference of reciprocal ranks over the same terms."""
    counts: Mapping[str, int] | None
    """Term -> times in the training text; None = none was given."""
    n_left_out: Mapping[str, int]
    """Kind -> terms whose answer repeats their name."""


def run_probe(
    terms: Sequence[Term],
    encoders: Sequence[Encoder],
    *,
    train: Sequence[Path] = (),
    most: int = 1000,
    seed: int = 0,
    progress: Callable[[str], None] = lambda _: None,
) -> Probe:
    """Rank every term's synonym and definition among foils by every encoder.

    Args:
        terms: of one source; each is a foil of the others.
        encoders: the first is what the others are compared with, e.g. before and after stage 1.
        train: text to count the terms in.
        most: terms asked of each kind.
        seed: of their choice.
        progress: told of every step.

    Raises:
        ConfigError: there are too few terms for foils, or an encoder is given twice.
    """
    names = labels_of(encoders)
    found = [probe_set(kind, terms, most=most, seed=seed) for kind in KINDS]
    sets = [each for each in found if each.items]
    if not sets:
        raise ConfigError(
            f"{len(terms)} terms are too few to be each other's foils.",
            "give a file with more terms that have synonyms or definitions",
        )
    results = []
    for encoder, name in zip(encoders, names, strict=True):
        for each in sets:
            progress(f"{name}: {len(each.items):,} {each.kind}s")
            results.append(_rank(encoder, each, name=name))
    asked = {item.name for each in sets for item in each.items}
    counts = count_terms(asked, train) if train else None
    left_out = {each.kind: each.n_left_out for each in sets}
    return Probe(results, _compare(results, names[0]), counts, left_out)


def count_terms(names: set[str], files: Sequence[Path]) -> dict[str, int]:
    """How often each name stands in training text, word by word, whatever the case."""
    by_first: dict[str, list[tuple[list[str], str]]] = {}
    for name in sorted(names):
        words = words_of(name)
        if words:
            by_first.setdefault(words[0], []).append((words, name))
    counts = dict.fromkeys(sorted(names), 0)
    for file in files:
        for text in training_texts(file):
            words = words_of(text)
            for place, word in enumerate(words):
                for wanted, name in by_first.get(word, ()):
                    counts[name] += words[place : place + len(wanted)] == wanted
    return counts


def probe_report(probe: Probe) -> RenderableType:
    """Tables: accuracy, by frequency, differences."""
    table = rich_table("Probe", ("encoder", "kind", "terms", "foils", "accuracy", "RR"))
    for r in probe.results:
        cells = [r.encoder, r.kind, str(len(r.reciprocal_ranks)), f"{r.n_foils:.0f}"]
        table.add_row(*map(escape, [*cells, f"{r.accuracy:.3f}", f"{r.mean_rr:.3f}"]))
    parts: list[RenderableType] = [table]
    if probe.counts is not None:
        frequency = rich_table(
            "Accuracy by times in the training text",
            ("encoder", "kind", "times", "terms", "accuracy"),
        )
        for r in probe.results:
            for label, n_terms, accuracy in r.by_frequency(probe.counts):
                shown = "" if accuracy is None else f"{accuracy:.3f}"
                frequency.add_row(*map(escape, [r.encoder, r.kind, label, str(n_terms), shown]))
        parts.append(frequency)
    if probe.comparisons:
        headings = ("kind", "arms", "RR", *COMPARISON_HEADINGS[3:])
        differences = rich_table("Differences in reciprocal rank", headings)
        for (kind, system, baseline), found in probe.comparisons.items():
            cells = [kind, f"{system} - {baseline}", *comparison_cells(found)]
            differences.add_row(*map(escape, cells))
        parts.append(differences)
    for kind, number in probe.n_left_out.items():
        if number:
            said = f"warning: {number} terms left out: their {kind} repeats their name"
            parts.append(Text(said, style="yellow"))
    return Group(*parts, Text(NOTE, style="dim"))


def probe_json(probe: Probe) -> dict[str, Any]:
    """Everything as one object, the rank of every term included."""
    return {
        "results": [
            {
                "encoder": r.encoder,
                "kind": r.kind,
                "n_terms": len(r.reciprocal_ranks),
                "n_foils": r.n_foils,
                "accuracy": r.accuracy,
                "mean_rr": r.mean_rr,
                "by_frequency": None if probe.counts is None else r.by_frequency(probe.counts),
                "reciprocal_ranks": dict(r.reciprocal_ranks),
            }
            for r in probe.results
        ],
        "comparisons": [
            {"kind": kind, "system": system, "baseline": baseline, "of": "reciprocal rank"}
            | {k.replace("ndcg@10_", ""): v for k, v in comparison_json(found).items()}
            for (kind, system, baseline), found in probe.comparisons.items()
        ],
        "counts": probe.counts,
        "n_left_out": dict(probe.n_left_out),
    }


def _rank(encoder: Encoder, probe: ProbeSet, *, name: str) -> ProbeResult:
    queries = encoder.encode_queries([item.name for item in probe.items])
    needed = sorted({p for item in probe.items for p in (item.answer, *item.foils)})
    rows = {place: row for row, place in enumerate(needed)}
    passages = encoder.encode_passages([probe.texts[place] for place in needed])
    ranks = {}
    for item, query in zip(probe.items, queries, strict=True):
        foils = passages[[rows[place] for place in item.foils]] @ query
        ranks[item.name] = 1 / (1 + int((foils >= passages[rows[item.answer]] @ query).sum()))
    n_foils = float(np.mean([len(item.foils) for item in probe.items]))
    return ProbeResult(name, probe.kind, ranks, n_foils)


def _compare(results: Sequence[ProbeResult], first: str) -> dict[tuple[str, str, str], Comparison]:
    base = {r.kind: r.reciprocal_ranks for r in results if r.encoder == first}
    others = [r for r in results if r.encoder != first]
    found = compare_all([(r.reciprocal_ranks, base[r.kind]) for r in others])
    return {(r.kind, r.encoder, first): c for r, c in zip(others, found, strict=True)}
