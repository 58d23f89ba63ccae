"""An object store in memory, whose requests can be counted, cut, and lost."""

from __future__ import annotations

import errno
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import xxhash

from ckptkit.errors import StorageError
from ckptkit.mirror.objects import ObjectExistsError, ObjectMissingError


class KilledError(BaseException):
    """The process was killed at a request; not even `except Exception` runs."""


@dataclass
class MemoryBucket:
    """What all clients of one store see.

    Args:
        objects: the objects by key.
        conditional: whether it refuses a second create. Some real stores do not.
    """

    objects: dict[str, bytes] = field(default_factory=dict)
    conditional: bool = True


class MemoryObjects:
    """A client of a store in memory; see `Objects`.

    Args:
        bucket: the store.
        hook: is called with the number and the name of each request before it is served, and with
            `after=True` once it has been. It may raise, or act as another process.
    """

    def __init__(
        self, bucket: MemoryBucket, hook: Callable[[int, str, bool], None] | None = None
    ) -> None:
        self.bucket, self._hook = bucket, hook
        self.requests: list[str] = []
        self._dead = False

    keeps_versions = False

    def _request(self, what: str, deed: Callable[[], bytes | dict[str, int] | None]) -> object:
        if self._dead:
            raise KilledError
        self.requests.append(what)
        number = len(self.requests)
        try:
            if self._hook:
                self._hook(number, what, False)
            try:
                answer = deed()
            finally:
                if self._hook:
                    self._hook(number, what, True)
        except KilledError:
            self._dead = True
            raise
        return answer

    def create(self, key: str, data: bytes) -> None:
        def deed() -> None:
            if key in self.bucket.objects and self.bucket.conditional:
                raise ObjectExistsError(key)
            self.bucket.objects[key] = data

        self._request(f"create {key}", deed)

    def put(self, key: str, data: bytes) -> None:
        self._request(f"put {key}", lambda: self.bucket.objects.__setitem__(key, data))

    def put_file(self, key: str, path: Path) -> str:
        data = path.read_bytes()
        self.put(key, data)
        return f"xxh3_128:{xxhash.xxh3_128_hexdigest(data)}"

    def read(self, key: str) -> bytes:
        found = self._request(f"read {key}", lambda: self._found(key))
        assert isinstance(found, bytes)
        return found

    def read_range(self, key: str, start: int, length: int) -> bytes:
        found = self._request(
            f"read {key} from {start}", lambda: self._found(key)[start : start + length]
        )
        assert isinstance(found, bytes)
        return found

    def _found(self, key: str) -> bytes:
        if key not in self.bucket.objects:
            raise ObjectMissingError(key)
        return self.bucket.objects[key]

    def sizes(self, prefix: str) -> dict[str, int]:
        found = self._request(
            f"list {prefix}",
            lambda: {
                key: len(data)
                for key, data in sorted(self.bucket.objects.items())
                if key.startswith(prefix)
            },
        )
        assert isinstance(found, dict)
        return found

    def delete(self, key: str) -> None:
        self._request(f"delete {key}", lambda: self.bucket.objects.pop(key, None))


def fault(at: int, kind: str) -> Callable[[int, str, bool], None]:
    """A hook that ends the process `before` or `after` a request, or loses its answer (`lost`)."""

    def hook(number: int, what: str, after: bool) -> None:
        if number != at or after == (kind == "before"):
            return
        if kind == "lost":
            raise StorageError(errno.EIO, f"the answer to {what!r} was lost")
        raise KilledError

    return hook
