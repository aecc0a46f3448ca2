"""Domains: found by the vector of a query, named, mixed when unsure, refused where impossible."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from lbr_search.config import SearchConfig
from lbr_search.errors import ConfigError, EncoderError
from lbr_search.search.routing import N_NEAREST, SHARPNESS, likely, probabilities
from lbr_search.search.searcher import Searcher
from lbr_search.types import Document
from tests.conftest import TOPICS, HashEncoder
from tests.hash_cli import hash_encoders, run
from tests.test_searcher import build_index_of

AUTO = SearchConfig(domain="auto")


@pytest.fixture(scope="module")
def paths(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """One index a topic, three notes a sentence, and an index of none of the topics."""
    folder = tmp_path_factory.mktemp("domains")
    made = []
    for name, sentences in (*TOPICS.items(), ("medical-2", ("fever in children",))):
        documents = [
            Document(f"{name}-{n}", f"{sentences[n % len(sentences)]} note{n}") for n in range(9)
        ]
        made.append(build_index_of(documents, folder / name, HashEncoder()))
    return made


def opened(paths: list[Path], config: SearchConfig = AUTO) -> Searcher:
    return Searcher.open(paths, encoder=HashEncoder(), config=config)


def test_probabilities_by_hand():
    """A softmax over the means of each domain's best three inner products."""
    dense = {"a": [0.2, 0.4, 0.6, 0.1], "b": [0.38], "c": [0.39, 0.37]}
    found = probabilities(dense)
    weights = {"a": np.exp(SHARPNESS * 0.4)} | dict.fromkeys("bc", np.exp(SHARPNESS * 0.38))
    total = sum(weights.values())
    assert found == pytest.approx({name: weight / total for name, weight in weights.items()})
    assert next(iter(found)) == "a" and sum(found.values()) == pytest.approx(1.0)
    assert N_NEAREST == 3
    assert probabilities({"a": [], "b": []}) == {"a": 0.0, "b": 0.0}


def test_the_fewest_domains_that_are_sure():
    assert likely({"a": 0.96, "b": 0.04}) == ["a"]
    assert likely({"a": 0.6, "b": 0.36, "c": 0.04}) == ["a", "b"]
    assert likely({"a": 0.4, "b": 0.3, "c": 0.3}) == ["a", "b", "c"]
    assert likely({}) == []


def test_a_clear_query_searches_its_domain_alone(paths: list[Path]):
    """The answer is that of the one index, and says how sure it was."""
    for number, (domain, sentences) in enumerate(TOPICS.items()):
        (hits,) = opened(paths[:3]).search_many([sentences[0]], k=5)
        alone = opened([paths[number]], SearchConfig()).search(sentences[0], k=5)
        assert [(h.doc_id, h.score) for h in hits] == [(h.doc_id, h.score) for h in alone]
        assert next(iter(hits[0].domains)) == domain and hits[0].domains[domain] > 0.95
        assert sum(hits[0].domains.values()) == pytest.approx(1.0)
        assert all(h.domains == hits[0].domains for h in hits)


def test_an_unsure_query_mixes_its_domains(paths: list[Path]):
    """Words of two domains: both are searched, the third is not."""
    hits = opened(paths[:3]).search("benzene is aromatic; open a file safely", k=18)
    assert {h.source for h in hits} == {"chemistry", "code"}
    lines = opened(paths[:3]).explain("benzene", hits)[0].lines()
    assert any(line.startswith("the query's domain: ") for line in lines)


def test_each_query_of_many_goes_its_own_way(paths: list[Path]):
    questions = [sentences[1] for sentences in TOPICS.values()]
    answers = opened(paths[:3]).search_many(questions, k=3)
    assert [hits[0].source for hits in answers] == list(TOPICS)
    assert answers == [opened(paths[:3]).search(question, k=3) for question in questions]


def test_an_index_without_a_domain_is_one_of_its_own(paths: list[Path]):
    hits = opened(paths).search("fever in children", k=3)
    assert next(iter(hits[0].domains)) == "medical-2"


def test_a_filter_that_lets_nothing_pass_leaves_the_domain_out(tmp_path: Path):
    for name in ("old", "new"):
        documents = [
            Document(f"{name}-1", "same words", metadata={"year": len(name) + n}) for n in range(1)
        ]
        documents += [Document(f"{name}-2", "same words again", metadata={"kind": name})]
        build_index_of(documents, tmp_path / name, HashEncoder())
    searcher = opened([tmp_path / "old", tmp_path / "new"])
    hits = searcher.search("same words", k=5, filter="kind = 'new'")
    assert [h.doc_id for h in hits] == ["new-2"]
    assert hits[0].domains == {"new": 1.0, "old": 0.0}
    assert searcher.search("same words", k=5, filter="kind = 'none'") == []


def test_what_cannot_be_routed_is_refused(paths: list[Path], tmp_path: Path):
    """Lexical search, encoders that differ, an encoder that is not there, an unknown domain."""
    with pytest.raises(ConfigError, match="a lexical search has none"):
        opened(paths, SearchConfig(domain="auto", mode="lexical"))
    with pytest.raises(ConfigError, match="a lexical search has none"):
        opened(paths).search("insulin", mode="lexical")
    foreign = build_index_of([Document("x", "words")], tmp_path / "x", HashEncoder(salt="b"))
    with hash_encoders(), pytest.raises(ConfigError, match="different encoders: medical hash-a, x"):
        Searcher.open([paths[0], foreign], config=AUTO)
    with pytest.raises(EncoderError):
        Searcher.open(paths, config=AUTO).search("insulin")
    with pytest.raises(ConfigError, match="no index is of the domain 'law'"):
        opened(paths, SearchConfig(domain="law"))


def test_a_named_domain_searches_its_indexes(paths: list[Path]):
    hits = opened(paths, SearchConfig(domain="code")).search("insulin lowers glucose", k=9)
    assert {h.source for h in hits} == {"code"}
    assert not hits[0].domains


def test_the_command_says_what_it_searched(tmp_path: Path):
    """On stderr for people, as a key of each line for programs."""
    folders = []
    for domain, sentences in TOPICS.items():
        rows = "".join(
            json.dumps({"_id": f"{domain}-{n}", "text": s}) + "\n" for n, s in enumerate(sentences)
        )
        (tmp_path / f"{domain}.jsonl").write_text(rows)
        index = tmp_path / "indexes" / domain
        run(
            "ingest",
            tmp_path / f"{domain}.jsonl",
            "--index",
            index,
            "--encoder",
            "hash:a",
            "--domain",
            domain,
        )
        folders += ["--index", index]
    told = run("query", "parse json text", *folders, "--domain", "auto", "--json")
    assert told.code == 0, told.err
    assert next(iter(json.loads(told.out.splitlines()[0])["domains"])) == "code"
    assert "note: domains: code 0.9" in told.err and "searched: code\n" in told.err
    refused = run("query", "parse json text", *folders, "--domain", "law")
    assert refused.code == 1 and "chemistry, code, medical" in refused.err
