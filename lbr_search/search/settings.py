"""Which settings an index is searched with: given ones, else tuned ones, else the defaults."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lbr_search.config import BY_LENGTH, SearchConfig, from_mapping
from lbr_search.index.tuned import TUNED_FIELDS, TUNED_FILE, Tuned, read_tuned

SHORT_CHARS, LONG_CHARS = 250, 1_250
SHORT_WEIGHT, LONG_WEIGHT = 0.75, 0.35
"""Dense weight of an index of short texts and of one of long ones. An encoder keeps less of each
statement the more a text says, and words then tell more; chosen on the dev splits of nine suites
(ARCHITECTURE.md)."""

Given = SearchConfig | Mapping[str, Any]
"""All settings, or some by name: the others are as tuned for the index, else the defaults."""


@dataclass(frozen=True, slots=True)
class Settings:
    """The settings of one index."""

    config: SearchConfig
    tuned: Tuned | None = None
    """What its `search.toml` says, where it is used."""
    problem: str = ""
    """Why its `search.toml` is not used, if it is there and should be."""

    @property
    def fusion(self) -> str:
        """How the legs become one ranking, and who says so."""
        config = self.config
        weight = f"dense weight {config.dense_weight:g}"
        how = f"rrf, k = {config.rrf_k}" if config.fusion == "rrf" else f"{config.fusion}, {weight}"
        if self.tuned is None:
            return how
        is_tuned = all(getattr(config, name) == getattr(self.tuned, name) for name in TUNED_FIELDS)
        return f"{how} ({'tuned on ' + self.tuned.about if is_tuned else 'given, not as tuned'})"


def weight_by_length(mean_chars: float) -> float:
    """Dense weight for texts of so many characters on average, linear in the logarithm.

    >>> [round(weight_by_length(chars), 2) for chars in (20, 250, 560, 1_250, 9_000)]
    [0.75, 0.75, 0.55, 0.35, 0.35]
    """
    place = math.log(max(mean_chars, 1) / SHORT_CHARS) / math.log(LONG_CHARS / SHORT_CHARS)
    return SHORT_WEIGHT + (LONG_WEIGHT - SHORT_WEIGHT) * min(1.0, max(0.0, place))


def settings_of(
    folder: Path, *, fingerprint: str, given: Given, mean_chars: Callable[[], float]
) -> Settings:
    """Settings for the index in `folder`.

    Args:
        folder: of the index; its `search.toml` is read unless every setting is given.
        fingerprint: of the encoder that built the index.
        given: what was asked for.
        mean_chars: of the texts of the index; asked for where no weight is given.

    Raises:
        ConfigError: a setting is unknown or out of range, or `search.toml` is damaged.
    """
    if isinstance(given, SearchConfig):
        return Settings(_weighted(given, mean_chars))
    config = from_mapping(SearchConfig, given, where="search settings")
    tuned = read_tuned(folder)
    config = _weighted(config, mean_chars)
    if tuned is None:
        return Settings(config)
    if tuned.evidence.encoder != fingerprint:
        return Settings(
            config,
            problem=f"{folder / TUNED_FILE} was tuned with another encoder and is not used "
            f"(fix: lbr-search tune {folder} --suite SUITE)",
        )
    asked = {name: getattr(config, name) for name in given}
    return Settings(dataclasses.replace(tuned.apply(config), **asked), tuned)


def _weighted(config: SearchConfig, mean_chars: Callable[[], float]) -> SearchConfig:
    if config.dense_weight != BY_LENGTH:
        return config
    return dataclasses.replace(config, dense_weight=round(weight_by_length(mean_chars()), 2))


def shared_config(settings: Sequence[Settings], given: Given) -> SearchConfig:
    """What holds for all indexes of a searcher; a reranker's weight as tuned where they agree."""
    if isinstance(given, SearchConfig):
        return given
    config = from_mapping(SearchConfig, given, where="search settings")
    weights = {each.config.rerank_weight for each in settings}
    return dataclasses.replace(config, rerank_weight=weights.pop()) if len(weights) == 1 else config
