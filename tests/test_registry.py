"""Every row of every registry resolves, and errors name what is known."""

from __future__ import annotations

import inspect

import pytest

from lbr_search.errors import ConfigError, MissingExtraError
from lbr_search.protocols import Encoder, IndexBackend, PeerSystem
from lbr_search.registry import BACKENDS, ENCODERS, PEERS, READERS, RERANKERS, Entry, Registry


def methods(protocol: type) -> list[str]:
    """Names of the functions of a Protocol; what it wants as attributes may be set per instance."""
    return [
        name
        for name, value in vars(protocol).items()
        if inspect.isfunction(value) and not name.startswith("_")
    ]


METHODS = {"index backend": methods(IndexBackend), "encoder kind": methods(Encoder)}
METHODS["peer"] = methods(PeerSystem)


@pytest.mark.parametrize(
    ("registry", "name"),
    [(r, name) for r in (BACKENDS, ENCODERS, PEERS, READERS, RERANKERS) for name in r],
    ids=lambda value: value if isinstance(value, str) else value.kind.replace(" ", "-"),
)
def test_every_row_resolves_and_has_what_its_protocol_asks(registry: Registry, name: str):
    """A misspelt target or a missing method shows here, not at a user's."""
    found = registry.resolve(name)
    assert callable(found)
    for method in METHODS.get(registry.kind, []):
        assert hasattr(found, method), f"{name} lacks {method}"


def test_an_unknown_name_says_which_are_known():
    """The message lists the names, the fix is the nearest."""
    with pytest.raises(ConfigError, match=r"known: exact, faiss, lancedb(.|\n)*use lancedb"):
        BACKENDS.resolve("lanced")


def test_a_missing_package_names_the_extra():
    """The fix is a command."""
    registry = Registry("thing", {"a": Entry("no_such_package:Thing", "test", extra="peers")})
    with pytest.raises(MissingExtraError, match=r'pip install "lbr-search\[peers\]"'):
        registry.resolve("a")


def test_a_fault_of_our_own_is_not_taken_for_a_missing_package():
    """A module of ours that is not there is our bug and keeps its traceback."""
    registry = Registry("thing", {"a": Entry("lbr_search.nothing:Thing", "test", extra="peers")})
    with pytest.raises(ModuleNotFoundError, match=r"lbr_search\.nothing"):
        registry.resolve("a")
