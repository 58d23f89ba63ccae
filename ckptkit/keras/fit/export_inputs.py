"""Derives the inputs of an exported model from the data of its `fit`."""

from __future__ import annotations

import keras

from ckptkit.compat import keras_fit
from ckptkit.export.signatures import DataForm
from ckptkit.log import logger


def inputs_of_fit(call: keras_fit.FitCall) -> DataForm:
    """Return the form of the model's inputs that the arguments of `fit` show, if any.

    No batch is read from the data, because that would change its position.

    Args:
        call: the arguments of the `fit`.
    """
    try:
        specs = (
            None
            if call.element_spec is None
            else keras.utils.unpack_x_y_sample_weight(call.element_spec)[0]
        )
        return DataForm(specs, keras_fit.rows_in_memory(call))
    except Exception as error:
        # A custom train step may take batches of any form, such as four parts, which Keras'
        # function refuses. Then the form comes from the model itself.
        logger.debug("the form of the model's inputs is not taken from the data of fit: %s", error)
        return DataForm()
