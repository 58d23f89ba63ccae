"""The inputs of an exported model, derived from the data of its `fit`."""

from __future__ import annotations

import keras

from ckptkit.compat import keras_fit
from ckptkit.export.signatures import DataForm
from ckptkit.log import logger


def inputs_of_fit(call: keras_fit.FitCall) -> DataForm:
    """Return what the arguments of a `fit` show of the model's inputs, possibly nothing.

    Nothing is drawn from the data: that would change its position.

    Args:
        call: what the `fit` was called with.
    """
    try:
        specs = (
            None
            if call.element_spec is None
            else keras.utils.unpack_x_y_sample_weight(call.element_spec)[0]
        )
        return DataForm(specs, keras_fit.rows_in_memory(call))
    except Exception as error:
        # A train step of the user's own takes batches of any form, as four parts, which Keras'
        # function refuses. The model then says itself what it is called with.
        logger.debug("what the model is called with is not taken from the data of fit: %s", error)
        return DataForm()
