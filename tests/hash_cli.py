"""The command line with a model-free encoder kind, ``hash:SALT``.

`run` calls it in this process; ``python -m tests.hash_cli`` is a process of its own.
"""

import contextlib
import io
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from unittest import mock

from lbr_search.cli import main
from lbr_search.protocols import EncodeReport
from lbr_search.registry import ENCODERS, Entry
from lbr_search.types import Embeddings
from tests.conftest import HashEncoder


class SlowEncoder(HashEncoder):
    """Takes its time over every batch, so that a test can interrupt an ingest."""

    def encode_passages(
        self, texts: Sequence[str], *, report: EncodeReport | None = None
    ) -> Embeddings:
        time.sleep(0.05)
        return super().encode_passages(texts, report=report)


def open_hash(salt: str) -> HashEncoder:
    """The encoder that ``hash:SALT`` names; ``slow`` is one that takes its time."""
    return SlowEncoder(salt=salt) if salt == "slow" else HashEncoder(salt=salt)


@contextlib.contextmanager
def hash_encoders() -> Iterator[None]:
    """Make ``hash:SALT`` an encoder spec."""
    entry = Entry("tests.hash_cli:open_hash", "hashed words, for tests")
    with mock.patch.dict(ENCODERS._entries, {"hash": entry}):
        yield


@dataclass(frozen=True)
class Outcome:
    """What a command printed and how it ended."""

    code: int
    out: str
    err: str


def run(*arguments: object) -> Outcome:
    """Run one command in this process."""
    out, err = io.StringIO(), io.StringIO()
    code = 0
    with (
        hash_encoders(),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
        mock.patch.dict("os.environ", {"COLUMNS": "100", "TERM": "dumb", "NO_COLOR": "1"}),
    ):
        try:
            main([str(argument) for argument in arguments])
        except SystemExit as stop:
            code = stop.code if isinstance(stop.code, int) else 0
    return Outcome(code, out.getvalue(), err.getvalue())


if __name__ == "__main__":
    sys.modules["tests.hash_cli"] = sys.modules["__main__"]
    with hash_encoders():
        main()
