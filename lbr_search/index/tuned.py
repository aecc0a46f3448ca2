"""`search.toml` in an index folder: search settings chosen for this index on judged queries.

`lbr-search tune` writes it; search reads it wherever no other setting is given.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lbr_search.config import SearchConfig, check, from_mapping, load_toml, to_mapping
from lbr_search.errors import ConfigError, LbrError

TUNED_FILE = "search.toml"
TUNED_FIELDS = ("fusion", "dense_weight", "rrf_k")
"""Of `SearchConfig`; the weight of a reranker is kept by its name."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """What the settings were chosen on, and what they are worth."""

    suites: tuple[str, ...]
    split: str
    n_queries: int
    encoder: str
    """Fingerprint of the encoder of the index at that time."""
    estimate: float
    """Mean nDCG@10 on queries that had no part in the choice (outer folds)."""
    default: float
    """Mean nDCG@10 of the default settings on the same queries."""
    p_value: float
    """Of their difference, paired."""
    n_folds: int
    rerank: str
    """Reranker that the settings were measured with; "" = none."""
    version: str
    """Of lbr-search."""
    created: str


@dataclass(frozen=True, slots=True)
class Tuned:
    """The content of a `search.toml`."""

    fusion: str
    dense_weight: float
    rrf_k: int
    evidence: Evidence
    rerank_weight: Mapping[str, float] = field(default_factory=dict)
    """Reranker -> its weight against the first stage."""

    def apply(self, config: SearchConfig) -> SearchConfig:
        """`config` with the tuned settings in the place of its own."""
        weight = self.rerank_weight.get(config.reranker_name, config.rerank_weight)
        return dataclasses.replace(
            config,
            rerank_weight=weight,
            **{name: getattr(self, name) for name in TUNED_FIELDS},
        )

    @property
    def about(self) -> str:
        """What was measured, in a few words.

        >>> found = Evidence(("mbpp",), "dev", 90, "", 0.71, 0.694, 0.2, 5, "", "", "")
        >>> Tuned("convex", 0.6, 60, found).about
        'mbpp, dev, 90 queries: nDCG@10 0.710 held out, default 0.694'
        """
        found = self.evidence
        reranked = f" with {found.rerank}" if found.rerank else ""
        return (
            f"{', '.join(found.suites)}, {found.split}, {found.n_queries} queries{reranked}: "
            f"nDCG@10 {found.estimate:.3f} held out, default {found.default:.3f}"
        )


def write_tuned(folder: Path, tuned: Tuned) -> Path:
    """Put `tuned` into the index in `folder`, whole or not at all; return the file."""
    import tomli_w

    path = folder / TUNED_FILE
    values = {
        "search": {name: getattr(tuned, name) for name in TUNED_FIELDS},
        "rerank_weight": dict(tuned.rerank_weight),
        "evidence": to_mapping(tuned.evidence),
    }
    unfinished = path.with_name(f".{path.name}.unfinished")
    unfinished.write_text(
        "# Written by lbr-search tune. Remove this file to search with the defaults.\n"
        + tomli_w.dumps(values),
        "utf-8",
    )
    unfinished.replace(path)
    return path


def read_tuned(folder: Path) -> Tuned | None:
    """What `write_tuned` put there; None without the file.

    Raises:
        ConfigError: the file is not TOML, has unknown or missing keys, or a value out of range.
    """
    path = folder / TUNED_FILE
    if not path.is_file():
        return None
    values = load_toml(path)
    try:
        return _tuned_from(values, path)
    except LbrError as error:
        fix = f"lbr-search tune {folder} --suite SUITE, or remove {path}"
        raise ConfigError(error.message, fix) from error


def _tuned_from(values: Mapping[str, Any], path: Path) -> Tuned:
    search = from_mapping(SearchConfig, _section(values, "search", path), where=f"{path} search")
    found = _section(values, "evidence", path)
    missing = [each.name for each in dataclasses.fields(Evidence) if each.name not in found]
    if missing:
        raise ConfigError(f"{path}: evidence lacks {', '.join(missing)}.", f"edit {path}")
    evidence = from_mapping(Evidence, found, where=f"{path} evidence")
    weights = _section(values, "rerank_weight", path)
    for name, weight in weights.items():
        is_weight = isinstance(weight, int | float) and not isinstance(weight, bool)
        check(is_weight and 0 <= weight <= 1, f"rerank_weight.{name}", weight, "between 0 and 1")
    settings: dict[str, Any] = {name: getattr(search, name) for name in TUNED_FIELDS}
    return Tuned(**settings, evidence=evidence, rerank_weight=weights)


def _section(values: Mapping[str, Any], name: str, path: Path) -> Mapping[str, Any]:
    section = values.get(name, {})
    if not isinstance(section, dict):
        raise ConfigError(f"{path}: {name} is not a section.", f"edit {path}")
    unknown = sorted(set(values) - {"search", "rerank_weight", "evidence"})
    if unknown:
        raise ConfigError(f"{path}: unknown sections {', '.join(unknown)}.", f"edit {path}")
    return section
