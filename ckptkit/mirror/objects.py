"""The interface of an object store: the few operations that a mirror needs.

Keys are relative to the run's prefix, with `/` between their parts. The protocol needs only one
guarantee beyond reading what was written: of several `create` calls for one key, one succeeds.
"""

from __future__ import annotations

import errno
from pathlib import Path
from typing import Protocol

from ckptkit.errors import StorageError


class ObjectMissingError(StorageError):
    """The store has no object under this key."""

    def __init__(self, key: str) -> None:
        super().__init__(errno.ENOENT, f"The object store has no object {key}.")


class ObjectExistsError(StorageError):
    """The store has an object under this key, so that it was not created."""

    def __init__(self, key: str) -> None:
        super().__init__(errno.EEXIST, f"The object store already has an object {key}.")


class StoreRefusedError(StorageError):
    """The store refuses this program: no such bucket, no credentials, or no permission.

    A repetition does not help.
    """


class Objects(Protocol):
    """An object store below one prefix.

    Each method raises `StorageError` if the store cannot be reached or refuses. After such an error
    it is not known whether the store has changed the object.
    """

    @property
    def keeps_versions(self) -> bool:
        """Whether the bucket keeps deleted and replaced objects, as far as answers have told."""
        ...

    def create(self, key: str, data: bytes) -> None:
        """Create an object.

        Raises:
            ObjectExistsError: If the key has an object.
        """
        ...

    def put(self, key: str, data: bytes) -> None:
        """Create or replace an object."""
        ...

    def put_file(self, key: str, path: Path) -> str:
        """Create or replace an object with the content of a file, in parts.

        Returns:
            The digest of the bytes that were sent, as a manifest has it.
        """
        ...

    def read(self, key: str) -> bytes:
        """Return the content of an object.

        Raises:
            ObjectMissingError: If there is none.
        """
        ...

    def read_range(self, key: str, start: int, length: int) -> bytes | memoryview:
        """Return `length` bytes of an object from `start` on.

        Raises:
            ObjectMissingError: If there is no such object.
        """
        ...

    def sizes(self, prefix: str) -> dict[str, int]:
        """Return the size in bytes of each object whose key begins with `prefix`, by key, sorted.

        The prefix is empty or ends with `/`.
        """
        ...

    def delete(self, key: str) -> None:
        """Delete an object; a missing one is no error."""
        ...
