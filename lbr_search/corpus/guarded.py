"""Parsers of other people's libraries, run in processes with a limit of time and of memory.

A damaged PDF can loop, fill the memory or end the process; here it ends a child, and its file is
put on record. Child and parent exchange lines of JSON. ``python -m lbr_search.corpus.guarded`` is
the child.
"""

from __future__ import annotations

import atexit
import dataclasses
import importlib
import json
import math
import os
import queue
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from lbr_search.corpus.compressed import count_read
from lbr_search.corpus.each import Parse
from lbr_search.corpus.records import RowError
from lbr_search.errors import LbrError, MissingExtraError
from lbr_search.protocols import ReadOptions, RejectSink
from lbr_search.types import Document, Section

TIME_LIMIT_S = 60.0
"""For one file, or from one document of it to the next."""
_LOOK_S = 0.1
MEMORY_LIMIT_BYTES = 2 << 30
"""Address space of a child."""


def guarded(target: str) -> Parse:
    """The parser ``module:function`` as one that runs in a child.

    It raises what the parser would (RowError, MissingExtraError), and a RowError for a limit that
    was passed, a child that ended, or an error that its library did not mean to raise.
    """

    def parse(file: Path, options: ReadOptions, rejects: RejectSink) -> Iterator[Document]:
        child = _take()
        try:
            yield from child.parse(target, file, options, rejects)
            count_read(file)
        finally:
            _give_back(child)

    return parse


class ReaderProcess:
    """A child that parses one file after the other; one that was stopped is not used again."""

    def __init__(self, *, time_limit_s: float, memory_limit_bytes: int) -> None:
        self._time_limit_s = time_limit_s
        paths = os.pathsep.join(path for path in sys.path if path)
        self._child = subprocess.Popen(
            [sys.executable, "-m", "lbr_search.corpus.guarded", str(memory_limit_bytes)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={**os.environ, "PYTHONPATH": paths},
        )
        self.is_usable = True
        self._heard_at = math.inf

    def parse(
        self, target: str, file: Path, options: ReadOptions, rejects: RejectSink
    ) -> Iterator[Document]:
        """As the parser `target`; errors as `guarded` says."""
        assert self._child.stdin is not None and self._child.stdout is not None
        request = {"target": target, "path": os.path.abspath(file), "options": _plain(options)}  # noqa: PTH100 - resolve() follows links
        self.is_usable = False  # until the child has said that it is done
        self._heard_at = time.monotonic()
        is_done, is_late = threading.Event(), threading.Event()
        threading.Thread(target=self._watch, args=[is_done, is_late], daemon=True).start()
        try:
            self._child.stdin.write(json.dumps(request).encode() + b"\n")
            self._child.stdin.flush()
            for line in self._child.stdout:
                self._heard_at = math.inf  # the time that documents are used is not the child's
                message = json.loads(line)
                if "document" in message:
                    yield _document(message["document"])
                    self._heard_at = time.monotonic()
                elif "reject" in message:
                    rejects.add(file, *message["reject"])
                    self._heard_at = time.monotonic()
                elif "skip" in message:
                    rejects.skip(file, message["skip"])
                    self._heard_at = time.monotonic()
                elif "note" in message:
                    rejects.note(file, message["note"])
                    self._heard_at = time.monotonic()
                else:
                    self.is_usable = True
                    _raise(message)
                    return
        except BrokenPipeError:
            pass  # it has ended: said below
        finally:
            is_done.set()
        raise RowError(
            f"time limit: over {self._time_limit_s:g} s"
            if is_late.is_set()
            else f"reader ended: its process stopped with code {self._child.wait()}"
        )

    def close(self) -> None:
        """End the child."""
        self.is_usable = False
        self._child.kill()
        self._child.wait()
        for pipe in (self._child.stdin, self._child.stdout):
            if pipe is not None:
                try:
                    pipe.close()
                except BrokenPipeError:  # what was being written goes nowhere
                    continue

    def _watch(self, is_done: threading.Event, is_late: threading.Event) -> None:
        while not is_done.wait(_LOOK_S):
            if time.monotonic() - self._heard_at > self._time_limit_s:
                is_late.set()
                self._child.kill()
                return


# Idle children wait here for the next file of this process: starting one takes a quarter second.
_idle: queue.SimpleQueue[ReaderProcess] = queue.SimpleQueue()


def _take() -> ReaderProcess:
    try:
        return _idle.get_nowait()
    except queue.Empty:
        return ReaderProcess(time_limit_s=TIME_LIMIT_S, memory_limit_bytes=MEMORY_LIMIT_BYTES)


def _give_back(child: ReaderProcess) -> None:
    if child.is_usable:
        _idle.put(child)
    else:
        child.close()


@atexit.register
def close_idle() -> None:
    """End the children that wait."""
    while not _idle.empty():
        _idle.get().close()


def _raise(message: dict[str, Any]) -> None:
    if "missing" in message:
        raise MissingExtraError(*message["missing"])
    if "error" in message:
        raise RowError(message["error"])


def _plain(options: ReadOptions) -> dict[str, Any]:
    return dataclasses.asdict(options)


def _document(values: dict[str, Any]) -> Document:
    sections = tuple(
        Section(start, tuple(path), is_break) for start, path, is_break in values.pop("sections")
    )
    return Document(**values, sections=sections)


class _Sender:
    """What the child's parser gives its rejects to."""

    def __init__(self, output: IO[str]) -> None:
        self._output = output

    def send(self, message: dict[str, Any]) -> None:
        self._output.write(json.dumps(message) + "\n")
        self._output.flush()

    def add(self, file: Path, line: int | None, reason: str) -> None:
        del file  # the parent knows it, by the name that the user gave
        self.send({"reject": [line, reason]})

    def skip(self, file: Path, reason: str) -> None:
        del file
        self.send({"skip": reason})

    def note(self, file: Path, reason: str) -> None:
        del file
        self.send({"note": reason})


def _serve(sender: _Sender) -> None:
    for line in sys.stdin:
        request = json.loads(line)
        module, _, function = request["target"].partition(":")
        try:
            parse: Parse = getattr(importlib.import_module(module), function)
            options = ReadOptions(**request["options"])
            for document in parse(Path(request["path"]), options, sender):
                values = {
                    name: getattr(document, name) for name in ("doc_id", "text", "title", "domain")
                }
                values["metadata"] = dict(document.metadata)
                values["sections"] = [(s.start, s.path, s.is_break) for s in document.sections]
                sender.send({"document": values})
            sender.send({"end": True})
        except MissingExtraError as error:
            sender.send({"missing": [error.message, error.fix]})
        except RowError as error:
            sender.send({"error": str(error)})
        except LbrError as error:
            sender.send({"error": f"damaged: {error.message.splitlines()[0]}"})
        except MemoryError:
            sender.send({"error": "memory limit: the file needs more"})
        except Exception as error:  # noqa: BLE001 - the border: libraries raise anything on bad files
            sender.send({"error": f"damaged: {type(error).__name__}: {str(error)[:200]}"})


def _main() -> None:
    if os.name == "posix":
        import resource

        limit = int(sys.argv[1])
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    # what a library prints must not stand between our lines
    output = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    _serve(_Sender(output))


if __name__ == "__main__":
    _main()
