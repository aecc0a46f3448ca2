"""Which domain a query belongs to, by the encoder's own vectors.

The evidence for a domain is the mean inner product of the query with its nearest documents there:
the dense leg has them anyway, and nothing is trained or kept beside the indexes.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from lbr_search.errors import ConfigError
from lbr_search.search.sources import Source

AUTO = "auto"
N_NEAREST = 3
SHARPNESS = 20.0
"""Of the softmax over domains: inner products times this. Chosen with the number above on dev
queries of six suites: the mean confidence is near the share that is right (ARCHITECTURE.md)."""
SURE = 0.95
"""The likeliest domains that together have this probability are searched."""


def domain_of(source: Source) -> str:
    """The domain of an index; one that was built without any is a domain of its own."""
    return source.opened.domain or source.name


def probabilities(dense: Mapping[str, Iterable[float]]) -> dict[str, float]:
    """Domain -> probability, the likeliest first.

    Args:
        dense: domain -> inner products of the query with documents there. A domain without any
            (where a filter lets nothing pass) has probability 0.

    >>> found = probabilities({"a": [0.3, 0.1], "b": [0.5, 0.3], "c": []})
    >>> {domain: round(p, 3) for domain, p in found.items()}
    {'b': 0.982, 'a': 0.018, 'c': 0.0}
    """
    nearest = {name: sorted(scores, reverse=True)[:N_NEAREST] for name, scores in dense.items()}
    evidence = {name: float(np.mean(scores)) for name, scores in nearest.items() if scores}
    if not evidence:
        return dict.fromkeys(dense, 0.0)
    best = max(evidence.values())
    weights = {name: float(np.exp(SHARPNESS * (e - best))) for name, e in evidence.items()}
    total = sum(weights.values())
    found = {name: weights.get(name, 0.0) / total for name in dense}
    return dict(sorted(found.items(), key=lambda item: (-item[1], item[0])))


def likely(found: Mapping[str, float]) -> list[str]:
    """The domains to search: the fewest that have probability `SURE` together.

    Args:
        found: domain -> probability, the likeliest first.

    >>> likely({"a": 0.9, "b": 0.08, "c": 0.02}), likely({"a": 0.97, "b": 0.03})
    (['a', 'b'], ['a'])
    """
    sums = itertools.accumulate(found.values())
    n_before = sum(total < SURE for total in sums)
    return list(found)[: n_before + 1]


def choose_sources(sources: Sequence[Source], domain: str) -> list[Source]:
    """The sources of a domain; all of them for "" and ``auto``.

    Raises:
        ConfigError: none is of that domain.
    """
    if domain in ("", AUTO):
        return list(sources)
    chosen = [source for source in sources if domain_of(source) == domain]
    if not chosen:
        known = sorted({domain_of(source) for source in sources})
        raise ConfigError(
            f"no index is of the domain {domain!r}; domains: {', '.join(known)}.",
            f"--domain {known[0]}, or --domain auto",
        )
    return chosen


def check_routable(sources: Sequence[Source], *, mode: str) -> None:
    """Refuse to route by vectors that cannot be compared.

    Raises:
        ConfigError: the mode has no dense leg, or the indexes are of different encoders.
    """
    if mode == "lexical":
        raise ConfigError(
            "--domain auto reads vectors, and a lexical search has none.",
            "name a domain, or search in hybrid or dense mode",
        )
    if len({source.opened.manifest.seal.fingerprint for source in sources}) > 1:
        raise ConfigError(
            "--domain auto cannot compare vectors of different encoders: "
            + ", ".join(f"{s.name} {s.opened.manifest.seal.encoder_name}" for s in sources)
            + ".",
            "search the indexes of one encoder, with --index",
        )
