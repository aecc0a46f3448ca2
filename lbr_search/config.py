"""Settings: one frozen dataclass a stage, a strict TOML loader, and the fingerprint of a dict.

Three sources, later wins: the default, a TOML file, ``--set key=value``.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

from lbr_search.errors import ConfigError
from lbr_search.registry import BACKENDS, RERANKERS, nearest

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class ChunkConfig:
    """How documents are cut. Tokens are those of the encoder."""

    chunk_tokens: int = 256
    """Longest chunk, in tokens; 0 = whole documents, cut (and counted) by the encoder."""
    overlap: int = 32
    """Tokens that a chunk repeats from the one before."""

    def __post_init__(self) -> None:
        check(self.chunk_tokens >= 0, "chunk_tokens", self.chunk_tokens, ">= 0")
        limit = self.chunk_tokens // 2 if self.chunk_tokens else 0
        check(
            not self.chunk_tokens or 0 <= self.overlap <= limit,
            "overlap",
            self.overlap,
            f"between 0 and chunk_tokens / 2 = {limit}",
        )


@dataclass(frozen=True, slots=True)
class IndexConfig:
    """How vectors are stored and searched."""

    backend: str = "faiss"
    """Name in `registry.BACKENDS`."""
    ann: str = "auto"
    """auto, flat, ivf or hnsw; auto takes flat up to `flat_limit` chunks, then ivf."""
    flat_limit: int = 100_000
    """Chunks up to which ``auto`` searches every vector."""
    multi_vector: bool = False
    """Keep the encoder's k compressed vectors of each chunk too, for reranking."""
    commit_rows: int = 32_768
    """Rows gathered before a commit to the store."""
    encode_batch: int = 1_024
    """Chunks handed to the encoder at a time (it sorts them by length)."""

    def __post_init__(self) -> None:
        if self.backend not in BACKENDS:
            raise ConfigError(
                f"unknown index backend {self.backend!r}; known: {', '.join(BACKENDS)}.",
                nearest(self.backend, BACKENDS),
            )
        check(self.ann in ANN_KINDS, "ann", self.ann, f"one of {', '.join(ANN_KINDS)}")
        for name in ("flat_limit", "commit_rows", "encode_batch"):
            check(getattr(self, name) > 0, name, getattr(self, name), "> 0")


ANN_KINDS = ("auto", "flat", "ivf", "hnsw")
BY_LENGTH = -1.0
"""A dense weight that each index decides for itself."""
MODES = ("hybrid", "dense", "lexical")
FUSIONS = ("rrf", "convex", "zscore", "dbsf")


@dataclass(frozen=True, slots=True)
class SearchConfig:
    """How candidates of the two legs become one ranking."""

    mode: str = "hybrid"
    """hybrid, dense or lexical."""
    domain: str = ""
    """Search the indexes of this domain alone; ``auto``: of those that a query seems to belong to,
    by its vector; "" = all."""
    fusion: str = "convex"
    """rrf (Cormack et al. 2009), or a convex combination (Bruch et al. 2023) of scores normalised
    by min-max (convex), standard deviations (zscore) or mean +- 3 of them (dbsf)."""
    depth: int = 100
    """Documents taken from each leg before fusion; more where more hits are asked for."""
    dense_weight: float = BY_LENGTH
    """Weight of the dense leg, 0 to 1; -1: by the length of the texts (search/settings.py)."""
    rrf_k: int = 60
    """Constant of reciprocal rank fusion, in ranks."""
    without_weight: float = 0.5
    """Of a negative text, > 0: so much of its score comes off the query's, in each leg."""
    is_deduped: bool = False
    """Fold hits whose text nearly equals that of a better hit."""
    rerank: str = ""
    """Name in `registry.RERANKERS`, where it takes one with an argument: NAME:ARGUMENT."""
    rerank_depth: int = 50
    """Documents that are re-scored; the others keep their order below."""
    rerank_weight: float = 0.5
    """Weight of the reranker against the first stage, 0 to 1."""
    rerank_budget_ms: float = 0.0
    """Time after which the remaining documents keep their order, in ms; 0 = no limit."""

    def __post_init__(self) -> None:
        check(self.mode in MODES, "mode", self.mode, f"one of {', '.join(MODES)}")
        check(self.fusion in FUSIONS, "fusion", self.fusion, f"one of {', '.join(FUSIONS)}")
        check(self.depth > 0, "depth", self.depth, "> 0")
        is_weight = 0 <= self.dense_weight <= 1 or self.dense_weight == BY_LENGTH
        check(is_weight, "dense_weight", self.dense_weight, f"between 0 and 1, or {BY_LENGTH:g}")
        check(self.rrf_k > 0, "rrf_k", self.rrf_k, "> 0")
        check(0 < self.without_weight <= 10, "without_weight", self.without_weight, "in (0, 10]")
        if self.rerank and self.reranker_name not in RERANKERS:
            raise ConfigError(
                f"unknown reranker {self.rerank!r}; known: {', '.join(RERANKERS)}.",
                nearest(self.reranker_name, RERANKERS),
            )
        check(self.rerank_depth > 0, "rerank_depth", self.rerank_depth, "> 0")
        check(0 <= self.rerank_weight <= 1, "rerank_weight", self.rerank_weight, "between 0 and 1")
        check(self.rerank_budget_ms >= 0, "rerank_budget_ms", self.rerank_budget_ms, ">= 0")

    @property
    def reranker_name(self) -> str:
        """`rerank` without its argument."""
        return self.rerank.partition(":")[0]


def check(is_valid: bool, name: str, value: object, allowed: str) -> None:
    """Refuse a setting that is out of range.

    Raises:
        ConfigError: `is_valid` is false.
    """
    if not is_valid:
        raise ConfigError(
            f"{name} = {value!r} is out of range.", f"set {name} to a value {allowed}"
        )


def load_toml(path: Path) -> dict[str, Any]:
    """Read a TOML file.

    Raises:
        ConfigError: the file is missing or is not TOML (with line and column).
    """
    try:
        return tomllib.loads(path.read_text("utf-8"))
    except FileNotFoundError as error:
        raise ConfigError(f"{path} does not exist.", "give the path of a .toml file") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not valid TOML: {error}.", f"edit {path}") from error


def from_mapping(cls: type[T], values: Mapping[str, Any], *, where: str) -> T:
    """Make a settings record from parsed TOML; unknown keys and wrong types are errors.

    Args:
        cls: a frozen dataclass whose fields are int, float, str, bool, tuples or dicts of them.
        values: field name -> value.
        where: file and section, for the error.

    Raises:
        ConfigError: all mistakes of `values`, each with the nearest known name.
    """
    hints = get_type_hints(cls)
    mistakes, clean = [], {}
    for key, value in values.items():
        if key not in hints:
            mistakes.append(f"{where}: unknown key {key!r} ({nearest(key, hints)})")
        elif not _fits(value, hints[key]):
            mistakes.append(f"{where}: {key} = {value!r} is not {_type_name(hints[key])}")
        else:
            clean[key] = _convert(value, hints[key])
    if mistakes:
        raise ConfigError("\n".join(mistakes) + ".", f"edit {where.split(' ', maxsplit=1)[0]}")
    return cls(**clean)


def parse_assignments(assignments: list[str]) -> dict[str, dict[str, Any]]:
    """``--set section.key=value`` -> {section: {key: value}}; the value is TOML, else a string.

    >>> parse_assignments(["stage1.steps=10", "stage2.optimizer=adamw"])
    {'stage1': {'steps': 10}, 'stage2': {'optimizer': 'adamw'}}
    """
    parsed: dict[str, dict[str, Any]] = {}
    for assignment in assignments:
        name, equals, raw = assignment.partition("=")
        section, dot, key = name.strip().partition(".")
        if not equals or not dot:
            raise ConfigError(
                f"--set {assignment!r} is not section.key=value.", "e.g. --set stage1.steps=100"
            )
        try:
            value = tomllib.loads(f"value = {raw}")["value"]
        except tomllib.TOMLDecodeError:
            value = raw
        parsed.setdefault(section, {})[key] = value
    return parsed


def to_mapping(config: Any) -> dict[str, Any]:  # noqa: ANN401 - any settings dataclass
    """The fields of a settings record as plain values, ready for TOML or JSON."""
    return {
        key: list(value) if isinstance(value, tuple) else value
        for key, value in dataclasses.asdict(config).items()
    }


def fingerprint(values: Mapping[str, Any]) -> str:
    """Hex digest (32 characters) of a JSON-able mapping; key order does not matter."""
    encoded = json.dumps(values, sort_keys=True, ensure_ascii=False).encode("utf-8")
    return hashlib.blake2b(encoded, digest_size=16).hexdigest()


def _fits(value: object, hint: Any) -> bool:  # noqa: ANN401 - a typing form
    origin = get_origin(hint)
    if origin is tuple:
        return isinstance(value, list | tuple) and all(_fits(v, get_args(hint)[0]) for v in value)
    if origin is dict:
        return isinstance(value, dict) and all(_fits(v, get_args(hint)[1]) for v in value.values())
    if hint is float:
        return isinstance(value, int | float) and not isinstance(value, bool)
    if hint is int:
        return isinstance(value, int) and not isinstance(value, bool)
    return isinstance(value, hint)


def _convert(value: Any, hint: Any) -> Any:  # noqa: ANN401 - a TOML value
    if get_origin(hint) is tuple:
        return tuple(value)
    return float(value) if hint is float else value


def _type_name(hint: Any) -> str:  # noqa: ANN401 - a typing form
    return getattr(hint, "__name__", str(hint))
