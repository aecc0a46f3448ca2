"""`sync --watch`: an index that follows its sources, by what the file system says has changed."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from lbr_search.corpus.walk import IGNORE_FILES
from lbr_search.errors import LbrError, MissingExtraError
from lbr_search.index.manifest import load_manifest
from lbr_search.protocols import Encoder
from lbr_search.source_record import load_record
from lbr_search.upkeep.reindex import sealed_encoder
from lbr_search.upkeep.sync import SyncReport, sync

DEBOUNCE_MS = 1_600
"""Changes that follow each other as fast as this are one change; no longer than this altogether."""
LOOK_MS = 1_000
"""How often single files, and folders that are gone, are looked at: no system watches those."""
RETRY_SECONDS = 60.0
"""After an error nothing is tried again sooner, unless something changes."""


def watch(
    index: Path,
    *,
    on_sync: Callable[[SyncReport], None],
    on_error: Callable[[LbrError], None],
    stop: threading.Event,
    encoder: Encoder | None = None,
) -> None:
    """Sync now, and whenever a source changes, until `stop` is set or Ctrl-C is pressed.

    The index is locked during a sync only; what happens meanwhile is seen afterwards. A source
    that vanishes (an unmounted disk) deletes nothing; when it is back, it is followed again.
    Sources that are ingested later are not followed.

    Args:
        index: a folder that an ingest made.
        on_sync: called after each sync.
        on_error: called with what kept a sync from ending, such as a source that is gone; the same
            error is told once.
        stop: ends the watch, after the sync that it is at.
        encoder: the one that the index is sealed to; None = opened by what the seal says.

    Raises:
        IndexFormatError: no index, or no record of sources.
        EncoderError, MissingExtraError: the encoder, or watchfiles, is not here.
    """
    sources = [one.source.path for one in load_record(index).sources]
    opened = encoder or sealed_encoder(index)
    told, tried = "", 0.0
    try:
        for is_changed in _changes(sources, index.absolute(), stop):
            is_due = bool(told) and time.monotonic() - tried >= RETRY_SECONDS
            if not is_changed and not is_due:
                continue
            tried = time.monotonic()
            try:
                if load_manifest(index).seal.fingerprint != opened.fingerprint:  # by `reindex`
                    opened = sealed_encoder(index)
                report = sync(index, encoder=opened)
            except LbrError as error:
                if str(error) != told:
                    on_error(error)
                told = str(error)
                continue
            told = ""
            on_sync(report)
    except _Stopped:
        return


class _Stopped(Exception):
    """Ctrl-C while nothing was being written."""


def _changes(sources: list[Path], index: Path, stop: threading.Event) -> Iterator[bool]:
    """Whether something changed, about every `LOOK_MS`; the first time, and after a return: yes."""
    try:
        from watchfiles import watch as watch_files
    except ImportError as error:
        raise MissingExtraError(
            "--watch needs the package watchfiles, which is not installed.",
            'pip install "lbr-search[watch]"',
        ) from error

    while not stop.is_set():
        state = _look(sources)
        folders = [path for path in sources if path.is_dir()]
        is_first = True
        # events that come while a sync runs wait in the watcher
        events = watch_files(
            *folders,
            watch_filter=lambda _, path: _is_of_sources(Path(path), sources, index),
            debounce=DEBOUNCE_MS,
            rust_timeout=LOOK_MS,
            yield_on_timeout=True,
            stop_event=stop,
        )
        for found in _until_interrupted(events):
            now = _look(sources)
            yield bool(found) or now != state or is_first
            is_first = False
            if [path.is_dir() for path in sources] != [path in folders for path in sources]:
                break  # a folder came or went: it needs a new watcher
            state = now


def _until_interrupted(events: Iterator[set[object]]) -> Iterator[set[object]]:
    while True:
        try:
            found = next(events)
        except StopIteration:
            return
        except KeyboardInterrupt:
            raise _Stopped from None
        yield found


def _look(sources: list[Path]) -> list[tuple[int, int, int] | None]:
    """Size and times of each source that is a file, what is there of the others, None = gone."""
    found: list[tuple[int, int, int] | None] = []
    for path in sources:
        try:
            stat = path.stat()
        except OSError:
            found.append(None)
            continue
        is_file = path.is_file()
        found.append((stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns) if is_file else (0, 0, 0))
    return found


def _is_of_sources(path: Path, sources: list[Path], index: Path) -> bool:
    """Not the index itself, which may lie below a source, and nothing hidden but ignore files."""
    if path == index or index in path.parents:
        return False
    for source in sources:
        if path.is_relative_to(source):
            names = path.relative_to(source).parts
            hidden = [name for name in names if name.startswith(".")]
            return all(name in IGNORE_FILES for name in hidden)
    return False
