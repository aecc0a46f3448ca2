"""A full disk while a run writes: an error that says what is kept and what to do."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lbr_search.errors import TrainingError

DISK_FULL = ("no space left on device", "os error 28", "disk quota exceeded", "os error 122")


@contextmanager
def disk_errors(folder: Path) -> Iterator[None]:
    """Turn a full disk, whichever library met it, into an error with a fix.

    Raises:
        TrainingError: the disk is full.
    """
    from safetensors import SafetensorError

    try:
        yield
    except (OSError, SafetensorError) as error:
        code = error.errno if isinstance(error, OSError) else None
        is_full = code in (errno.ENOSPC, errno.EDQUOT)
        if not is_full and not any(sign in str(error).lower() for sign in DISK_FULL):
            raise
        raise TrainingError(
            f"no space left on the disk of {folder}; the last checkpoint there is kept.",
            "free space and run the same command again: it goes on from that checkpoint",
        ) from error
