"""TensorFlow's coordination service: a store of keys and values that all workers of a job share.

Reason: the workers of `MultiWorkerMirroredStrategy` have this service, and nothing of it is public.
Without it, each wait would be a collective operation, which has no time limit and collides with the
program's own.

Tried with TensorFlow 2.20 and 2.21.
"""

from __future__ import annotations

import tensorflow as tf
from tensorflow.python.eager import context


class CoordinationService:
    """The store of the job in which this process is a worker.

    A key can be written once. The store is in the process of the first worker, and ends with it.
    """

    @staticmethod
    def is_running() -> bool:
        """Return whether this process has joined such a service."""
        return bool(context.context().coordination_service)

    def put(self, key: str, value: str) -> bool:
        """Store a value.

        Returns:
            Whether it was stored; False if the key has a value already.

        Raises:
            ConnectionError: If the service has ended, or the job has failed.
        """
        try:
            context.context().set_config_key_value(key, value)
        except tf.errors.AlreadyExistsError:
            return False
        except tf.errors.OpError as error:
            raise ConnectionError(error.message) from error
        return True

    def get(self, key: str, timeout_secs: float) -> str | None:
        """Wait for a value.

        Returns:
            The value, or None if there was none within the time limit.

        Raises:
            ConnectionError: If the service has ended, or the job has failed.
        """
        try:
            # 0 would wait for ever.
            found = context.context().get_config_key_value(key, max(int(timeout_secs * 1000), 1))
        except (tf.errors.DeadlineExceededError, tf.errors.NotFoundError):
            return None
        except tf.errors.OpError as error:
            raise ConnectionError(error.message) from error
        return str(found)

    def delete(self, key: str) -> None:
        """Delete a value, and all values whose keys begin with this key and a slash.

        Raises:
            ConnectionError: If the service has ended, or the job has failed.
        """
        try:
            context.context().delete_config_key_value(key)
        except tf.errors.OpError as error:
            raise ConnectionError(error.message) from error


def is_lost_worker(error: Exception) -> bool:
    """Return whether TensorFlow ended an operation because another worker of the job has ended.

    Reason: no class of errors says so. A collective operation ends with different ones, depending
    on which part of TensorFlow notices the loss first.

    Args:
        error: what a training step has raised.
    """
    kinds = (
        tf.errors.UnavailableError,
        tf.errors.AbortedError,
        tf.errors.CancelledError,
        tf.errors.DeadlineExceededError,
        tf.errors.InternalError,
        tf.errors.FailedPreconditionError,
    )
    words = ("Collective ops is aborted", "Connection reset", "coordination", "heartbeat")
    known = isinstance(error, kinds[:2])
    return known or (isinstance(error, kinds) and any(word in str(error) for word in words))
