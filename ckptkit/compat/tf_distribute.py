"""Private names of `tf.distribute`.

Tried with TensorFlow 2.20 and 2.21, and with Keras 3.14 and 3.15.
"""

from __future__ import annotations

from typing import Any


def distributed_variable_of(component: Any) -> Any:
    """Return the distributed variable to which a variable on one device belongs, or None.

    Reason: a traced function knows the variable on each device, and the program the one that
    TensorFlow spreads. No public name leads from the first to the second.

    Args:
        component: a `tf.Variable` on one device.
    """
    container = getattr(component.handle, "_distributed_container", None)
    return container() if container is not None else None
