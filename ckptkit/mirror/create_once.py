"""Creates an object exactly once, also if an answer of the store is lost."""

from __future__ import annotations

from ckptkit.clock import Clock
from ckptkit.errors import StorageError
from ckptkit.mirror.objects import ObjectExistsError, ObjectMissingError, Objects, StoreRefusedError

_TRIES = 5
_FIRST_WAIT_SECS = 0.05


def create_once(objects: Objects, key: str, data: bytes, clock: Clock) -> bool:
    """Create an object whose bytes no other process writes, because there is a nonce in them.

    The client repeats a request whose answer was lost. The repetition meets the object that the
    first request has made, and is refused. So a refusal proves nothing: the object is read and
    compared. S3 also refuses a creation while another one is under way, which may then fail. So if
    the object is missing, the creation is tried again.

    Args:
        objects: the store.
        key: the key of the object.
        data: its bytes.
        clock: the source of time.

    Returns:
        Whether the object is the given one. If not, another process has created it.

    Raises:
        StorageError: If the store does not answer; it may have created the object.
    """
    number = 0
    while (problem := _try(objects, key, data)) is not None:
        try:
            return objects.read(key) == data
        except ObjectMissingError:
            number += 1
            if number == _TRIES:
                raise problem from None
            clock.sleep(_FIRST_WAIT_SECS * 2**number)
    return True


def _try(objects: Objects, key: str, data: bytes) -> StorageError | None:
    """Try to create an object.

    Returns:
        None if the store has confirmed it, else the error after which the object may exist.
    """
    try:
        objects.create(key, data)
    except StoreRefusedError:
        raise
    except StorageError as error:
        return error
    return None


def refuses_second_create(objects: Objects, key: str) -> bool:
    """Return whether a store refuses to create an object that exists.

    Some stores that speak S3's protocol accept the request and ignore its condition. On these two
    machines could take one run at the same time.

    Args:
        objects: the store.
        key: a key that no other process uses.

    Raises:
        StorageError: If the store does not answer.
    """
    try:
        objects.create(key, b"1")
        objects.create(key, b"2")
    except ObjectExistsError:  # also of the first one, if its answer was lost and it was repeated
        return objects.read(key) == b"1"
    else:
        return False
    finally:
        objects.delete(key)
