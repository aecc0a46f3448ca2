"""The language model as a reranker: prompts, windows, answers of every kind, and its failures."""

from __future__ import annotations

import json
import re
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from lbr_search.config import SearchConfig
from lbr_search.errors import ConfigError, RerankError
from lbr_search.protocols import Passage
from lbr_search.rerank.llm import MAX_CHARS, LlmReranker, parse_endpoint, parse_ranking
from lbr_search.search.searcher import Searcher
from lbr_search.types import Document
from tests.conftest import HashEncoder
from tests.hash_cli import run
from tests.test_searcher import build_index_of


class Model(ThreadingHTTPServer):
    """A local endpoint. `behave` makes the answer of the passages; requests are kept."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Answer)
        self.requests: list[dict] = []
        self.behaviour = "relevance"

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/v1"


class Answer(BaseHTTPRequestHandler):
    server: Model

    def log_message(self, *arguments) -> None:
        pass

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.requests.append(
            {"path": self.path, "key": self.headers.get("Authorization"), **body}
        )
        prompt = body["messages"][-1]["content"]
        passages = re.findall(r"^\[(\d+)\] (.*)$", prompt, re.MULTILINE)
        getattr(self, self.server.behaviour)(passages)

    def say(self, content: object) -> None:
        self.send_raw(json.dumps({"choices": [{"message": {"content": content}}]}).encode())

    def send_raw(self, raw: bytes, status: int = 200, length: int | None = None) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(raw) if length is None else length))
        self.end_headers()
        self.wfile.write(raw)

    def relevance(self, passages) -> None:
        """By the number behind `worth`, largest first."""
        worth = {n: float(re.search(r"worth(\d+)", text)[1]) for n, text in passages}
        self.say(" > ".join(f"[{n}]" for n in sorted(worth, key=worth.get, reverse=True)))

    def partial(self, passages) -> None:
        self.say(f"[{len(passages)}] > [99]")

    def refusal(self, passages) -> None:
        self.say("I cannot rank these 3 passages.")

    def nothing(self, passages) -> None:
        self.say(None)

    def broken(self, passages) -> None:
        self.send_raw(b"{'choices'")

    def elsewhere(self, passages) -> None:
        self.send_raw(b'{"models": []}')

    def failing(self, passages) -> None:
        self.send_raw(b"no", status=503)

    def cut(self, passages) -> None:
        self.send_raw(b'{"choices"', length=500)

    def slow(self, passages) -> None:
        time.sleep(1.0)
        self.say("[1]")

    def dribble(self, passages) -> None:
        self.send_response(200)
        self.end_headers()
        try:
            for _ in range(30):
                self.wfile.write(b" ")
                self.wfile.flush()
                time.sleep(0.05)
        except OSError:
            pass

    def moved(self, passages) -> None:
        self.send_response(302)
        self.send_header("Location", f"{self.server.url}/chat/completions")
        self.send_header("Content-Length", "0")
        self.end_headers()

    def huge(self, passages) -> None:
        self.send_raw(b" " * 1_200_000)


@pytest.fixture
def model() -> Iterator[Model]:
    server = Model()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def reranker(model: Model, options: str = "") -> LlmReranker:
    return LlmReranker(HashEncoder(), f"tiny@{model.url}{options}")


def worth(*numbers: int) -> list[Passage]:
    return [Passage(f"text worth{number}\nsecond line") for number in numbers]


def test_places_become_scores_and_the_prompt_holds_what_it_must(model: Model):
    """Minus the place of each; the query, the numbered passages in a line each, temperature 0."""
    assert reranker(model).score("what is it", worth(2, 9, 4)) == [-2.0, 0.0, -1.0]
    (request,) = model.requests
    assert request["path"] == "/v1/chat/completions" and request["model"] == "tiny"
    assert request["temperature"] == 0 and request["key"] is None
    assert request["messages"][1]["content"] == (
        "Query: what is it\n\nPassages:\n[1] text worth2 second line\n[2] text worth9 second line\n"
        "[3] text worth4 second line"
    )
    assert reranker(model).score("q", []) == []
    assert len(model.requests) == 1


def test_windows_carry_the_best_from_the_last_to_the_first(model: Model):
    """45 passages, the best ones last: four windows, and the ten best of all come out on top."""
    numbers = list(range(45))
    scores = reranker(model).score("q", worth(*numbers))
    assert len(model.requests) == 4
    order = sorted(numbers, key=lambda n: scores[n], reverse=True)
    assert order[:10] == numbers[:-11:-1]
    assert sorted(scores) == [-float(n) for n in range(44, -1, -1)]


def test_long_passages_are_cut(model: Model):
    reranker(model).score("q", [Passage("worth1 " + "x" * 5_000)])
    line = model.requests[0]["messages"][1]["content"].splitlines()[-1]
    assert len(line) == len("[1] ") + MAX_CHARS


def test_what_an_answer_leaves_out_keeps_its_order(model: Model, caplog: pytest.LogCaptureFixture):
    """Unknown numbers are ignored, and the log says how many were ranked."""
    model.behaviour = "partial"
    assert reranker(model).score("q", worth(1, 2, 3)) == [-1.0, -2.0, 0.0]
    assert "ranked 1 of 3 passages" in caplog.text


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ("[3] > [1] > [2]", [2, 0, 1]),
        ("<think>first [1]</think>\n[2]", [1]),
        ("2 > 1", [1, 0]),
        ("2, 1.\n", [1, 0]),
        ("[0] [4] [-1] [2] [2]", [1]),
        ("passage 2 is best", []),
        ("", []),
        ("[99999999999999999999]", []),
    ],
)
def test_answers_are_read_for_numbers_alone(answer: str, expected: list[int]):
    assert parse_ranking(answer, n=3) == expected


@pytest.mark.parametrize(
    ("behaviour", "says"),
    [
        ("refusal", "holds no ranking"),
        ("nothing", "holds no ranking"),
        ("broken", "does not answer as a chat completion"),
        ("elsewhere", "does not answer as a chat completion"),
        ("failing", "answers 503"),
        ("cut", "does not answer as a chat completion|broke off"),
        ("slow", "no whole answer within 0.2 s"),
        ("dribble", "no whole answer within 0.2 s"),
        ("moved", "answers 302"),
        ("huge", "more than 1,000,000 bytes"),
    ],
)
def test_a_failure_leaves_the_first_order_and_is_said(
    model: Model, tmp_path: Path, behaviour: str, says: str
):
    """Whatever goes wrong there, a search answers as without the reranker, with a warning."""
    model.behaviour = behaviour
    documents = [Document(f"d{n}", f"note worth{n} of insulin") for n in range(5)]
    index = build_index_of(documents, tmp_path / "index", HashEncoder())
    config = SearchConfig(rerank=f"llm:tiny@{model.url}#timeout-s=0.2")
    searcher = Searcher.open(index, encoder=HashEncoder(), config=config)
    plain = Searcher.open(index, encoder=HashEncoder(), config=SearchConfig())
    assert searcher.search("insulin note", k=5) == plain.search("insulin note", k=5)
    (warning,) = searcher.warnings
    assert warning.startswith("llm: not reranked, the first order stands: ")
    assert re.search(says, warning)
    assert model.requests, "it was asked"


def test_a_dead_endpoint_is_named(model: Model):
    port = model.server_port
    dead = LlmReranker(HashEncoder(), f"tiny@http://127.0.0.1:{_closed_port(port)}/v1")
    with pytest.raises(RerankError, match="cannot be reached"):
        dead.score("q", worth(1))


def _closed_port(taken: int) -> int:
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    assert port != taken
    return port


def test_a_searcher_takes_the_models_order(model: Model, tmp_path: Path):
    """With weight 1 its order stands; the hits show it as a leg, and what was first."""
    documents = [Document(f"d{n}", f"note worth{n} of insulin") for n in range(30)]
    index = build_index_of(documents, tmp_path / "index", HashEncoder())
    config = SearchConfig(rerank=f"llm:tiny@{model.url}", rerank_weight=1.0, rerank_depth=30)
    hits = Searcher.open(index, encoder=HashEncoder(), config=config).search("insulin", k=10)
    assert [h.doc_id for h in hits] == [f"d{n}" for n in range(29, 19, -1)]
    assert hits[0].legs["llm"].score == 0.0 and hits[0].first_rank >= 1


def test_the_key_is_read_from_a_file_and_sent(model: Model, tmp_path: Path):
    (tmp_path / "key").write_text("s3cret\n")
    reranker(model, f"#key-file={tmp_path / 'key'}").score("q", worth(1))
    assert model.requests[0]["key"] == "Bearer s3cret"


@pytest.mark.parametrize(
    ("argument", "says"),
    [
        ("", "is not MODEL@URL"),
        ("tiny", "is not MODEL@URL"),
        ("tiny@localhost:8000", "is not MODEL@URL"),
        ("tiny@file:///etc/passwd", "is not MODEL@URL"),
        ("@http://localhost", "is not MODEL@URL"),
        ("tiny@http://localhost#timeout=3", "unknown options timeout"),
        ("tiny@http://localhost#timeout-s=soon", "is no time"),
        ("tiny@http://localhost#timeout-s=-1", "is no time"),
        ("tiny@http://localhost#timeout-s=nan", "is no time"),
        ("tiny@http://localhost#key-file=/nowhere/key", "cannot be read"),
    ],
)
def test_a_wrong_endpoint_is_refused_at_once(argument: str, says: str):
    with pytest.raises(ConfigError, match=says):
        LlmReranker(HashEncoder(), argument)


def test_a_key_file_without_a_key_is_refused(tmp_path: Path):
    for content in ("", " \n", "two\nlines", "schlüssel"):
        (tmp_path / "key").write_text(content, "utf-8")
        with pytest.raises(ConfigError, match="holds no key"):
            parse_endpoint(f"tiny@http://localhost#key-file={tmp_path / 'key'}")


def test_a_url_may_name_the_completions_itself():
    urls = ("http://h/v1", "http://h/v1/", "http://h/v1/chat/completions")
    assert {parse_endpoint(f"m@{url}").url for url in urls} == {"http://h/v1/chat/completions"}
    assert parse_endpoint("org/name@cf@https://h").model == "org/name@cf"


def test_the_command_asks_the_model(model: Model, tmp_path: Path):
    """From the shell; missing or lone options are named, and a time budget is not for this one."""
    rows = "".join(
        json.dumps({"_id": f"d{n}", "text": f"worth{n} insulin"}) + "\n" for n in range(4)
    )
    (tmp_path / "notes.jsonl").write_text(rows)
    index = tmp_path / "index"
    run("ingest", tmp_path / "notes.jsonl", "--index", index, "--encoder", "hash:a")
    ask = ("query", "insulin", "--index", index, "--json", "--rerank-weight", "1")
    there = ("--rerank", "llm", "--llm-url", model.url, "--llm-model", "tiny")
    found = run(*ask, *there)
    assert [json.loads(line)["doc_id"] for line in found.out.splitlines()] == [
        "d3",
        "d2",
        "d1",
        "d0",
    ]
    model.behaviour = "failing"
    failed = run(*ask, *there)
    assert failed.code == 0 and "warning: llm: not reranked" in failed.err
    assert run(*ask, "--rerank", "llm").code == 1
    assert "needs an endpoint" in run(*ask, "--rerank", "llm").err
    assert "go with --rerank llm" in run(*ask, "--llm-model", "tiny").err
    assert "time budget" in run(*ask, *there, "--rerank-budget-ms", "5").err
