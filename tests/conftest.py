"""Shared fixtures: a corpus of 30 documents, a hashing encoder, a home folder, blocked sockets."""

from __future__ import annotations

import hashlib
import os
import re
import socket
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest

from lbr_search.protocols import EncodeReport
from lbr_search.types import Document, Embeddings, Qrels, Query


class HashEncoder:
    """Bag of hashed words, no model: equal texts are equal vectors, shared words are near."""

    def __init__(self, dim: int = 64, max_tokens: int = 128, salt: str = "a") -> None:
        self.dim = dim
        self.max_tokens = max_tokens
        self.name = f"hash-{salt}"
        self.spec = f"hash:{salt}"
        self.fingerprint = hashlib.blake2b(
            f"hash {dim} {max_tokens} {salt}".encode(), digest_size=16
        ).hexdigest()
        self._salt = salt
        self.n_encoded = 0

    def token_spans(self, text: str) -> list[tuple[int, int]]:
        return [match.span() for match in re.finditer(r"\w+|[^\w\s]", text)]

    def encode_queries(
        self, texts: Sequence[str], *, report: EncodeReport | None = None
    ) -> Embeddings:
        return self._encode(texts, report)

    def encode_passages(
        self, texts: Sequence[str], *, report: EncodeReport | None = None
    ) -> Embeddings:
        return self._encode(texts, report)

    def _encode(self, texts: Sequence[str], report: EncodeReport | None) -> Embeddings:
        vectors = np.zeros((len(texts), self.dim), dtype=np.float32)
        for row, text in enumerate(texts):
            spans = self.token_spans(text)
            if report is not None:
                report.n_texts += 1
                report.n_tokens += min(len(spans), self.max_tokens)
                report.n_truncated += len(spans) > self.max_tokens
                report.n_tokens_lost += max(0, len(spans) - self.max_tokens)
            for start, end in spans[: self.max_tokens]:
                word = f"{self._salt}{text[start:end].lower()}".encode()
                digest = hashlib.blake2b(word, digest_size=8).digest()
                sign = 1.0 if digest[4] & 1 else -1.0
                vectors[row, int.from_bytes(digest[:4], "little") % self.dim] += sign
            vectors[row, 0] += 1e-3  # an empty text has a direction too
        self.n_encoded += len(texts)
        return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


TOPICS = {
    "medical": ("insulin lowers glucose", "aspirin thins blood", "vaccines train immunity"),
    "chemistry": ("acids donate protons", "benzene is aromatic", "catalysts lower barriers"),
    "code": ("sort a list in place", "open a file safely", "parse json text"),
}


@pytest.fixture
def documents() -> list[Document]:
    """30 documents, ten a domain, with a year and a topic as metadata."""
    made = []
    for domain, sentences in TOPICS.items():
        for number in range(10):
            sentence = sentences[number % len(sentences)]
            made.append(
                Document(
                    doc_id=f"{domain}-{number}",
                    title=f"{domain} note {number}",
                    text=f"{sentence} variant{number} of {domain}. It has detail{number * 7}.",
                    domain=domain,
                    metadata={"year": 2010 + number, "topic": sentence.split()[0]},
                )
            )
    return made


@pytest.fixture
def queries() -> list[Query]:
    """One query a topic sentence."""
    return [
        Query(f"q-{domain}-{n}", sentence)
        for domain, sentences in TOPICS.items()
        for n, sentence in enumerate(sentences)
    ]


@pytest.fixture
def qrels(documents: list[Document], queries: list[Query]) -> Qrels:
    """Documents that were made from a query's sentence are relevant to it."""
    return {
        query.query_id: {d.doc_id: 1 for d in documents if d.text.startswith(query.text)}
        for query in queries
    }


@pytest.fixture
def encoder() -> HashEncoder:
    return HashEncoder()


@pytest.fixture
def other_encoder() -> HashEncoder:
    """Same size, other vectors: what a seal must refuse."""
    return HashEncoder(salt="b")


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty home folder, set as LBR_HOME."""
    folder = tmp_path / "home"
    (folder / "indexes").mkdir(parents=True)
    (folder / "corpora").mkdir()
    monkeypatch.setenv("LBR_HOME", str(folder))
    return folder


@pytest.fixture(autouse=True)
def _no_network(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Only loopback may be reached."""
    connect = socket.socket.connect

    def guarded(self: socket.socket, address: object) -> None:
        host = address[0] if isinstance(address, tuple) else str(address)
        if self.family != socket.AF_UNIX and host not in {"127.0.0.1", "::1", "localhost"}:
            raise AssertionError(f"a test tried to reach {host}")
        connect(self, address)

    monkeypatch.setattr(socket.socket, "connect", guarded)
    yield


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--corpora", default=None, help="folder with real suites/, pairs/ and text/")


@pytest.fixture(scope="session")
def corpora(request: pytest.FixtureRequest) -> Path:
    """The folder of real suites, or a skip that says how to give it."""
    given = request.config.getoption("--corpora") or os.environ.get("LBR_CORPORA")
    if not given:
        pytest.skip("no real corpora: give --corpora DIR or set LBR_CORPORA")
    folder = Path(given)
    assert folder.is_dir(), f"--corpora {folder} is not a folder"
    return folder
