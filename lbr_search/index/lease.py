"""One writer of an index on S3: an object that its holder renews, and others take when it stops.

It keeps two machines from encoding the same corpus in vain. That no state is lost does not hang
on it: a state is published only in the place of the one that was read (bucket.Bucket.put).
"""

from __future__ import annotations

import json
import os
import socket
import threading
import time
from types import TracebackType

from lbr_search.errors import IndexFormatError
from lbr_search.index.bucket import NEW, Bucket, MissingObjectError, OutOfDateError

WRITER = "writer.json"
RENEW_S = 20.0
STALE_S = 90.0
"""A holder that has not renewed for so long has ended, or cannot reach the storage."""


class Lease:
    """The right to write an index on S3, for a block.

    Raises:
        IndexFormatError: another process holds it; its host, process and start are named.
    """

    def __init__(self, bucket: Bucket) -> None:
        self._bucket = bucket
        self._body = json.dumps(
            {
                "pid": os.getpid(),
                "host": socket.gethostname(),
                "since": time.strftime("%Y-%m-%d %H:%M:%S"),
            }
        ).encode()
        self._etag = ""
        self._is_done = threading.Event()
        self._renewer = threading.Thread(target=self._renew, daemon=True)

    def __enter__(self) -> Lease:
        self._etag = self._take()
        self._renewer.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._is_done.set()
        self._renewer.join()
        if self._is_ours():
            self._bucket.delete([WRITER])

    def _take(self) -> str:
        try:
            return self._bucket.put(WRITER, self._body, instead_of=NEW)
        except OutOfDateError:
            pass
        try:
            found = self._bucket.get(WRITER)
            holder = json.loads(found.body)
            if found.age_s > STALE_S or _has_ended(holder):
                return self._bucket.put(WRITER, self._body, instead_of=found.etag)
            name = f"process {holder['pid']} on {holder['host']}, since {holder['since']}"
        except MissingObjectError:  # it ended at this moment
            return self._take()
        except OutOfDateError:  # another took it at this moment
            name = "it has just started"
        except (ValueError, KeyError, TypeError) as error:
            name = f"{WRITER} there is damaged ({error})"
        raise IndexFormatError(
            f"another process is writing {self._bucket.uri}: {name}.",
            f"wait until it ends, or stop it: {STALE_S:g} s after its end another may write",
        )

    def _renew(self) -> None:
        while not self._is_done.wait(RENEW_S):
            try:
                self._etag = self._bucket.put(WRITER, self._body, instead_of=self._etag)
            except (OutOfDateError, IndexFormatError):
                # taken over, or out of reach: publishing will tell, by the state it replaces
                continue

    def _is_ours(self) -> bool:
        try:
            return self._bucket.get(WRITER).etag == self._etag
        except (MissingObjectError, IndexFormatError):
            return False  # gone, or out of reach: it ends by itself


def _has_ended(holder: dict[str, object]) -> bool:
    """Whether the holder was a process of this machine that is no more."""
    pid = holder["pid"]
    if holder["host"] != socket.gethostname() or not isinstance(pid, int):
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        return False
    return False
