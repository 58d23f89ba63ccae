"""The object store behind the client `obstore`, which speaks to S3, GCS, Azure and compatible ones.

It is imported when a mirror is opened, because it is an extra that most runs do not need.
"""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import IO, Any

import xxhash

from ckptkit.errors import ConfigError, StorageError
from ckptkit.mirror.objects import (
    ObjectExistsError,
    ObjectMissingError,
    StoreRefusedError,
)
from ckptkit.mirror.store_url import SCHEMES, StoreUrl
from ckptkit.run.verify import digest_name
from ckptkit.storage.files import storage_errors

PART_BYTES = 8 * 1024 * 1024
CONNECTIONS = 4
"""Parts of an upload that are in memory at the same time, at most 32 MB together."""

_RETRIES = {
    "max_retries": 6,
    "retry_timeout": timedelta(seconds=60),
    "backoff": {
        "init_backoff": timedelta(milliseconds=100),
        "max_backoff": timedelta(seconds=5),
        "base": 2,
    },
}
_TIMEOUT = "300 seconds"
"""Of one request. The client's own 30 s are too short for a part on a slow connection."""

_MOST_PARTS = 9_000
"""S3 accepts 10,000."""

_QUERY = re.compile(r"(https?://[^\s?\"'()]+)\?[^\s\"'()]*")
_MESSAGE = re.compile(r"<Message>([^<]*)</Message>")
_SECRET_NAMES = re.compile(r"(?i)key|secret|token|password|signature|sas|credential")
_MOST_CHARACTERS = 300


class ObstoreObjects:
    """An object store below a prefix; see `Objects`.

    Only the process that made it may use it: after a fork the client hangs in the child.

    Args:
        place: where on which store.
        options: settings of the client; `client_options` and `retry_config` in it go before those
            of ckptkit.
        retries: how requests are repeated, as obstore describes it; by default for a minute.

    Attributes:
        keeps_versions: see `Objects`.

    Raises:
        ConfigError: If the client is not installed, or does not know a setting.
    """

    def __init__(
        self,
        place: StoreUrl,
        options: Mapping[str, Any],
        retries: Mapping[str, Any] = _RETRIES,
    ) -> None:
        try:
            import obstore
            from obstore import store as stores
        except ImportError as error:
            raise ConfigError(
                f"A mirror on {place.scheme}:// needs the package obstore. Install it: "
                f"pip install 'ckptkit[{SCHEMES[place.scheme]}]'."
            ) from error
        self._client, self._place = obstore, place
        self._pid = os.getpid()
        self.keeps_versions = False
        self._secrets = tuple(_secrets(options, os.environ))
        make: Callable[..., Any] = {
            "s3": stores.S3Store,
            "gs": stores.GCSStore,
            "az": stores.AzureStore,
        }[place.scheme]
        try:
            self._store = make(
                place.bucket,
                prefix=place.prefix,
                **{"retry_config": dict(retries), **_with_timeout(options)},
            )
        except Exception as error:
            raise ConfigError(
                f"The client for {place} refuses its settings: {self._clean(error)}"
            ) from None

    def create(self, key: str, data: bytes) -> None:
        with self._errors("create", key):
            made = self._client.put(self._store, key, data, mode="create", use_multipart=False)
        # Only S3 has a version for a bucket that keeps them; GCS has one for each object.
        if self._place.scheme == "s3" and made.get("version") not in (None, "null"):
            self.keeps_versions = True

    def put(self, key: str, data: bytes) -> None:
        with self._errors("write", key):
            self._client.put(self._store, key, data)

    def put_file(self, key: str, path: Path) -> str:
        digest = xxhash.xxh3_128()
        with storage_errors("read", path), path.open("rb") as file:
            part_bytes = max(PART_BYTES, os.fstat(file.fileno()).st_size // _MOST_PARTS)
            first = file.read(part_bytes)
            digest.update(first)
            with self._errors("upload", key):
                if len(first) < part_bytes:
                    self._client.put(self._store, key, first, use_multipart=False)
                else:
                    self._client.put(
                        self._store,
                        key,
                        _parts(first, file, part_bytes, digest),
                        chunk_size=part_bytes,
                        max_concurrency=CONNECTIONS,
                    )
        return digest_name(digest)

    def read(self, key: str) -> bytes:
        with self._errors("read", key):
            return bytes(self._client.get(self._store, key).bytes())

    def read_range(self, key: str, start: int, length: int) -> bytes | memoryview:
        if not length:
            return b""
        with self._errors("read", key):
            # A view, not a copy: several parts are in memory at the same time.
            return memoryview(self._client.get_range(self._store, key, start=start, length=length))

    def sizes(self, prefix: str) -> dict[str, int]:
        with self._errors("list", prefix):
            found = {
                str(each["path"]): int(each["size"])
                for batch in self._client.list(self._store, prefix or None)
                for each in batch
            }
        # Not every store lists in order.
        return dict(sorted(found.items()))

    def delete(self, key: str) -> None:
        with self._errors("delete", key):
            try:
                self._client.delete(self._store, key)
            except FileNotFoundError:  # S3 does not tell, the others do
                return

    # -- errors

    @contextmanager
    def _errors(self, action: str, key: str) -> Iterator[None]:
        if os.getpid() != self._pid:
            raise ConfigError(
                f"The object store {self._place} was opened by another process. A forked process "
                "cannot use it."
            )
        from obstore import exceptions as errors

        try:
            yield
        except (FileNotFoundError, errors.NotFoundError) as error:
            if _names_the_bucket(error):
                raise self._refused(action, key, error) from None
            raise ObjectMissingError(key) from None
        except (errors.AlreadyExistsError, errors.PreconditionError):
            raise ObjectExistsError(key) from None
        except (
            errors.PermissionDeniedError,
            errors.UnauthenticatedError,
            errors.InvalidPathError,
            errors.UnknownConfigurationKeyError,
            PermissionError,
        ) as error:
            raise self._refused(action, key, error) from None
        except (errors.BaseError, OSError, ValueError) as error:
            # A listing below a missing prefix is empty; a missing bucket is "not found".
            if _is_about_credentials(error) or (action == "list" and "404" in str(error)):
                raise self._refused(action, key, error) from None
            # Its cause is left out: it may quote a signed URL.
            raise StorageError(
                errno.EIO,
                f"Could not {action} {key or 'objects'} in {self._place}: {self._clean(error)}",
            ) from None

    def _refused(self, action: str, key: str, error: BaseException) -> StoreRefusedError:
        return StoreRefusedError(
            errno.EACCES,
            f"The object store refuses to {action} {key or 'objects'} in {self._place}: "
            f"{self._clean(error)}. Check the name of the bucket, the credentials in the "
            "environment or of the machine's role, and their permission to list, read, write and "
            "delete.",
        )

    def _clean(self, error: BaseException) -> str:
        """Return the first line of an error, without credentials."""
        whole = str(error) or type(error).__name__
        text = whole.splitlines()[0].partition("<?xml")[0].rstrip(" :")
        if detail := _MESSAGE.search(whole):
            text += f": {detail[1]}"
        text = _QUERY.sub(r"\1?...", text)
        for secret in self._secrets:
            text = text.replace(secret, "***")
        return text[:_MOST_CHARACTERS].rstrip(". ")


def _with_timeout(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return settings with a timeout for each request, unless there is one."""
    if "client_options" not in options:
        # With `client_options`, the client would ignore those in the environment.
        return {"timeout": _TIMEOUT, **options}
    return {**options, "client_options": {"timeout": _TIMEOUT, **options["client_options"]}}


def _parts(
    first: bytes, file: IO[bytes], part_bytes: int, digest: xxhash.xxh3_128
) -> Iterator[bytes]:
    part = first
    while part:
        yield part
        part = file.read(part_bytes)
        digest.update(part)


def _names_the_bucket(error: BaseException) -> bool:
    return any(word in str(error) for word in ("NoSuchBucket", "ContainerNotFound", "bucket does"))


def _is_about_credentials(error: BaseException) -> bool:
    text = str(error)
    return any(
        word in text
        for word in (
            "InvalidAccessKeyId",
            "SignatureDoesNotMatch",
            "ExpiredToken",
            "InvalidToken",
            "security credentials",
            "NoCredentials",
            "403 Forbidden",
            "401 Unauthorized",
        )
    )


def _secrets(options: Mapping[str, Any], environment: Mapping[str, str]) -> Iterator[str]:
    for name, value in [*options.items(), *environment.items()]:
        if isinstance(value, str) and len(value) >= 8 and _SECRET_NAMES.search(name):
            yield value
