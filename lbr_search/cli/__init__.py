"""The command line. `main` is the only place where an `LbrError` is caught."""

from __future__ import annotations

import logging
import sys
from collections.abc import Sequence

from lbr_search.cli.app import app
from lbr_search.cli.console import to_stderr
from lbr_search.errors import LbrError

GO_ON = {
    "ingest": "finished batches are kept: run the same command again to go on",
    "sync": "finished batches are kept: run the same command again to go on",
    "reindex": "what was encoded is kept: run the same command again to go on",
    "forget": "the removal is not complete: run the same command again",
    "train": "checkpoints are kept: run the same command again to go on from the last one",
    "bench": "finished indexes are kept: run the same command again to go on",
    "corpora": "what was fetched is kept: run the same command again to go on",
}


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one command and exit: 0 done, 1 an `LbrError`, 2 wrong usage, 130 interrupted.

    Args:
        arguments: what follows the program's name; None = those of this process.
    """
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s: %(message)s")
    given = list(sys.argv[1:] if arguments is None else arguments)
    try:
        app(args=given, prog_name="lbr-search")
    except LbrError as error:
        _exit_with(error)
    except KeyboardInterrupt:
        _exit_interrupted(given)
    except SystemExit as stop:
        if stop.code == 130:
            _exit_interrupted(given)
        raise


def _exit_with(error: LbrError) -> None:
    to_stderr(f"error: {error.message}")
    to_stderr(f"fix: {error.fix}")
    sys.exit(1)


def _exit_interrupted(given: Sequence[str]) -> None:
    command = next((word for word in given if word in GO_ON), None)
    note = GO_ON[command] if command else "nothing was changed"
    to_stderr(f"interrupted; {note}.")
    sys.exit(130)
