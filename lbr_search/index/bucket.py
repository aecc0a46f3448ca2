"""A folder of objects on S3-compatible storage, and the errors of reaching it.

Objects are written whole or not at all. A write may be tied to the state that was read before
(``If-Match``): of two writers that read the same state, one is refused. Endpoint, region and
credentials are those of the AWS tools: ``AWS_ENDPOINT_URL``, ``AWS_PROFILE`` and so on.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any

from lbr_search.errors import IndexFormatError, MissingExtraError

SCHEME = "s3://"
NEW = "*"
"""In the place of an ETag: the object must not exist yet."""
MISSING = {"NoSuchKey", "404", "NotFound"}
REFUSED = {"PreconditionFailed", "ConditionalRequestConflict", "412", "409"}
CREDENTIALS = "set AWS_PROFILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"


class OutOfDateError(Exception):
    """The object is not what the caller read before: someone else has written it."""


class MissingObjectError(Exception):
    """There is no such object."""


@dataclass(frozen=True, slots=True)
class Stored:
    """An object as it was read."""

    body: bytes
    etag: str
    age_s: float
    """By the clock of the storage, so that no clock of ours matters."""


class Bucket:
    """The objects below ``s3://BUCKET/PREFIX``.

    Raises:
        IndexFormatError: the address names no bucket and prefix.
        MissingExtraError: boto3 is not installed.
    """

    def __init__(self, uri: str) -> None:
        self.uri = uri.rstrip("/")
        name, _, prefix = self.uri.removeprefix(SCHEME).partition("/")
        if not uri.startswith(SCHEME) or not name or not prefix:
            raise IndexFormatError(
                f"{uri!r} is no address of an index on S3: it names no bucket, or nothing in it.",
                "write s3://BUCKET/PATH, e.g. s3://our-indexes/protocols",
            )
        self._bucket, self._prefix = name, prefix + "/"
        self._client = _client()

    def get(self, name: str) -> Stored:
        """The object `name`.

        Raises:
            MissingObjectError: there is none.
        """
        with self._errors():
            answer = self._client.get_object(Bucket=self._bucket, Key=self._prefix + name)
            body = answer["Body"].read()
        now = parsedate_to_datetime(answer["ResponseMetadata"]["HTTPHeaders"]["date"])
        age_s = (now - answer["LastModified"]).total_seconds()
        return Stored(body, answer["ETag"], max(age_s, 0.0))

    def put(self, name: str, body: bytes, *, instead_of: str) -> str:
        """Write `name` in the place of the state with that ETag; returns the ETag of the new one.

        Raises:
            OutOfDateError: it is not in that state; with `NEW`, it exists.
        """
        condition = {"IfNoneMatch": NEW} if instead_of == NEW else {"IfMatch": instead_of}
        with self._errors():
            answer = self._client.put_object(
                Bucket=self._bucket, Key=self._prefix + name, Body=body, **condition
            )
        etag: str = answer["ETag"]
        return etag

    def upload(self, path: Path, name: str) -> None:
        """Write a file as the object `name`; large ones go in parts."""
        with self._errors():
            self._client.upload_file(str(path), self._bucket, self._prefix + name)

    def download(self, name: str, path: Path) -> None:
        """Write the object `name` into a file.

        Raises:
            MissingObjectError: there is none.
        """
        with self._errors():
            self._client.download_file(self._bucket, self._prefix + name, str(path))

    def names(self, folder: str) -> set[str]:
        """Names of the objects below `folder`."""
        with self._errors():
            pages = self._client.get_paginator("list_objects_v2").paginate(
                Bucket=self._bucket, Prefix=f"{self._prefix}{folder}/"
            )
            keys = [found["Key"] for page in pages for found in page.get("Contents", [])]
        return {key.removeprefix(self._prefix) for key in keys}

    def delete(self, names: Iterable[str]) -> None:
        """Remove objects; those that are not there are no error."""
        with self._errors():
            for name in names:
                self._client.delete_object(Bucket=self._bucket, Key=self._prefix + name)

    @contextmanager
    def _errors(self) -> Iterator[None]:
        """What boto3 raises, as errors of ours."""
        from boto3.exceptions import S3UploadFailedError
        from botocore.exceptions import BotoCoreError, ClientError, NoCredentialsError

        try:
            yield
        except ClientError as error:
            code = str(error.response.get("Error", {}).get("Code", ""))
            if code in MISSING:
                raise MissingObjectError from error
            if code in REFUSED:
                raise OutOfDateError from error
            hint = "create the bucket" if code == "NoSuchBucket" else CREDENTIALS
            raise self._unreachable(error, f"{hint}; check the address and your rights") from error
        except NoCredentialsError as error:
            raise self._unreachable(error, CREDENTIALS) from error
        except (BotoCoreError, S3UploadFailedError) as error:
            raise self._unreachable(error, "check AWS_ENDPOINT_URL and the network") from error

    def _unreachable(self, error: Exception, fix: str) -> IndexFormatError:
        return IndexFormatError(f"{self.uri} cannot be used: {str(error)[:300]}", fix)


def _client() -> Any:  # noqa: ANN401 - boto3 makes its classes while it runs
    try:
        import boto3
        from botocore.config import Config
        from botocore.exceptions import BotoCoreError
    except ImportError as error:
        raise MissingExtraError(
            "an index on S3 needs boto3.", 'pip install "lbr-search[s3]"'
        ) from error
    retries = Config(retries={"max_attempts": 4, "mode": "standard"}, max_pool_connections=16)
    try:
        return boto3.client("s3", config=retries)
    except (BotoCoreError, ValueError) as error:
        raise IndexFormatError(f"S3 cannot be used: {error}", CREDENTIALS) from error
