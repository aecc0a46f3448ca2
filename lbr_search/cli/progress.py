"""One line of progress on stderr: a live one on a terminal, a plain one now and then elsewhere."""

from __future__ import annotations

import time
from types import TracebackType
from typing import TYPE_CHECKING, Self

from lbr_search.cli.console import stderr, to_stderr

if TYPE_CHECKING:
    from rich.status import Status

    from lbr_search.bench.plan import BenchProgress
    from lbr_search.corpus.download import DownloadProgress
    from lbr_search.index.report import BuildProgress
    from lbr_search.ingest import IngestProgress
    from lbr_search.train.speedometer import Step

PLAIN_EVERY_S = 10.0


class Line:
    """A line that is rewritten on a terminal and, elsewhere, printed at most every ten seconds."""

    def __init__(self) -> None:
        self._status: Status | None = None
        self._said_at = time.monotonic()

    def __enter__(self) -> Self:
        console = stderr()
        if console.is_terminal:
            self._status = console.status("starting")
            self._status.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._status is not None:
            self._status.stop()

    def say(self, text: str) -> None:
        """Show the newest state."""
        if self._status is not None:
            self._status.update(text)
        elif time.monotonic() - self._said_at >= PLAIN_EVERY_S:
            to_stderr(text)
            self._said_at = time.monotonic()


class IngestLine(Line):
    """Progress of an ingest."""

    def update(self, state: IngestProgress) -> None:
        """Show phase, counts, rate and time left."""
        self.say(ingest_text(state))


class BuildLine(Line):
    """Progress of a sync or a change of encoder."""

    def update(self, state: BuildProgress) -> None:
        """Show phase, counts and rate."""
        self.say(build_text(state))


class BenchLine(Line):
    """Progress of a benchmark."""

    def update(self, state: BenchProgress) -> None:
        """Show suite and step."""
        build = f": {build_text(state.build)}" if state.build is not None else ""
        self.say(f"{state.suite}: {state.step}{build}")


class TrainLine(Line):
    """Progress of a training run."""

    def update(self, stage: str, state: Step) -> None:
        """Show step, loss, rates and time left."""
        self.say(training_text(stage, state))


class FetchLine(Line):
    """Progress of the downloads of one suite."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self._name = name
        self._began: dict[str, tuple[float, int]] = {}

    def update(self, state: DownloadProgress) -> None:
        """Show file, bytes, rate since this run began, and time left."""
        now = time.monotonic()
        started, n_first = self._began.setdefault(state.name, (now, state.n_bytes))
        rate = (state.n_bytes - n_first) / (now - started) if now > started else 0.0
        self.say(f"{self._name}: {fetch_text(state, rate)}")


def fetch_text(state: DownloadProgress, bytes_per_s: float) -> str:
    """A download's state in one line.

    >>> from lbr_search.corpus.download import DownloadProgress
    >>> fetch_text(DownloadProgress("corpus.gz", 30_000_000, 90_000_000), 2e6)
    'corpus.gz, 30.0 of 90.0 MB, 2.0 MB/s, 0:30 left'
    """
    text = f"{state.name}, {state.n_bytes / 1e6:.1f}"
    text += f" of {state.total_bytes / 1e6:.1f} MB" if state.total_bytes else " MB"
    text += f", {bytes_per_s / 1e6:.1f} MB/s"
    if state.total_bytes and bytes_per_s > 0:
        text += f", {clock((state.total_bytes - state.n_bytes) / bytes_per_s)} left"
    return text


def training_text(stage: str, state: Step) -> str:
    """A training run's state in one line.

    >>> from lbr_search.train.speedometer import Step
    >>> training_text("stage1", Step(40, 1500, 3.21, 5200.0, 75.0, peak_share=0.43))
    'stage1: step 40 of 1,500, loss 3.210, 5,200 tokens/s, 43 % of peak, 1:15 left'
    """
    share = "" if state.peak_share is None else f", {state.peak_share:.0%} of peak"
    return (
        f"{stage}: step {state.step:,} of {state.n_steps:,}, loss {state.loss:.3f},"
        f" {state.tokens_per_s:,.0f} tokens/s{share.replace('%', ' %')},"
        f" {clock(state.seconds_left)} left"
    )


def ingest_text(state: IngestProgress) -> str:
    """An ingest's state in one line.

    >>> from lbr_search.index.report import BuildProgress
    >>> from lbr_search.ingest import IngestProgress
    >>> ingest_text(IngestProgress(BuildProgress("encode", 200, 500, 50.0, 10.0), 0.2))
    'encode: 200 documents, 500 chunks, 50 chunks/s, 0:10 so far, 20 % read, 0:40 left'
    """
    left = state.seconds_left
    ahead = f", {state.share_read * 100:.0f} % read, {clock(left)} left" if left else ""
    return build_text(state.build) + ahead


def build_text(state: BuildProgress) -> str:
    """A build's state in one line, without the time left."""
    return (
        f"{state.phase}: {state.n_documents:,} documents, {state.n_chunks:,} chunks,"
        f" {state.chunks_per_s:,.0f} chunks/s, {clock(state.seconds)} so far"
    )


def clock(seconds: float) -> str:
    """Minutes and seconds, with hours where needed.

    >>> clock(75), clock(3661)
    ('1:15', '1:01:01')
    """
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
