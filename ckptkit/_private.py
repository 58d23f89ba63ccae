"""Every private name of TensorFlow and Keras that ckptkit uses, each with the reason. Nothing else may use one.

Tried with TensorFlow 2.20 to 2.21 and Keras 3.14 to 3.15; `tests/test_private.py` fails loudly where a version changes one.
"""

from __future__ import annotations

import inspect
import itertools
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from threading import get_ident
from types import FrameType
from typing import Any
from weakref import WeakKeyDictionary

import keras
import numpy as np
import tensorflow as tf
from tensorflow.python.eager import context, execute
from tensorflow.python.ops import summary_ops_v2


class StagedTensor(tf.Module):
    """A tensor that `tf.train.Checkpoint` writes as if it were a variable.

    Reason: `tf.Variable` holds no variants (the state of tf.data iterators), and costs a copy on some devices. The
    protocol of TensorFlow's trackables, `_serialize_to_tensors`, has no public name.
    """

    def __init__(self, tensor: tf.Tensor) -> None:
        super().__init__()
        self._staged = tensor

    def _serialize_to_tensors(self) -> dict[str, tf.Tensor]:
        return {"VARIABLE_VALUE": self._staged}

    def _restore_from_tensors(self, restored_tensors: Mapping[str, tf.Tensor]) -> None:
        raise TypeError("A staged tensor is only written.")


def serializes(trackable: Any) -> bool:
    """Whether a trackable has values of its own to save (tables, iterators), beyond the variables in it."""
    base = tf.Module._serialize_to_tensors
    method = getattr(type(trackable), "_serialize_to_tensors", None)
    return method is not None and method is not base


def serialize(trackable: Any) -> dict[str, tf.Tensor]:
    """A trackable's values now, by local name (see `StagedTensor`)."""
    return dict(trackable._serialize_to_tensors())


def deserialize(trackable: Any, tensors: Mapping[str, tf.Tensor]) -> None:
    """Gives a trackable the values that `serialize` took."""
    trackable._restore_from_tensors(dict(tensors))


def iterator_of(value: Any) -> Any:
    """The iterator of tf.data that a value is, or holds as `as_numpy_iterator` does; or None. Reason: that one has no public way to it."""
    held = getattr(value, "_iterator", value)
    return held if isinstance(held, tf.data.Iterator) else None


def dataset_of(iterator: Any) -> Any:
    """The dataset that an iterator of tf.data iterates over. Reason: in `fit` Keras makes the iterator and keeps the dataset."""
    return iterator._dataset


@dataclass(frozen=True)
class Stage:
    """A stage of a tf.data pipeline.

    Args:
        kind: its class, as `ShuffleDataset`.
        inputs: the stages that it reads from.
        inside: the pipelines that its functions use and did not make themselves, or that are its elements; None for one that cannot be looked
            into.
        random: operations in its functions that draw from a state inside TensorFlow's kernels.
        once: whether its functions are called once in a pass.
    """

    kind: str
    inputs: tuple[Stage, ...] = ()
    inside: tuple[Stage | None, ...] = ()
    random: tuple[str, ...] = ()
    once: bool = False


def stage_of(dataset: Any) -> Stage:
    """A pipeline by its last stage. Reason: tf.data describes its pipelines nowhere else in Python.

    A pipeline does not change, and looking into a function that holds a large constant takes its time: each is looked at once.
    """
    if dataset not in _STAGES:
        _STAGES[dataset] = _look(dataset)
    return _STAGES[dataset]


_STAGES: WeakKeyDictionary[Any, Stage] = WeakKeyDictionary()


def _look(dataset: Any) -> Stage:
    inputs, functions = dataset._inputs(), dataset._functions()
    random = sorted({node.op for function in functions for node in _nodes_of(function) if node.op in _STATEFUL_RANDOM})
    inside = tuple(each for function in functions for each in _inside(function))
    if not inputs and any(isinstance(each, tf.data.DatasetSpec) for each in tf.nest.flatten(dataset.element_spec)):
        inside = (*inside, None)  # its elements are pipelines
    once = len(inputs) == 1 and int(inputs[0].cardinality()) == 1
    return Stage(type(dataset).__name__.lstrip("_"), tuple(map(stage_of, inputs)), inside, tuple(random), once)


def _inside(function: Any) -> list[Stage | None]:
    """The pipelines that a function uses and did not make: they are tensors there, and found again among the names that it was written with."""
    used = [tensor for tensor in function.function.captured_inputs if tensor.dtype == tf.variant]
    if not used:
        return []
    try:
        names = inspect.getclosurevars(function._func)
    except (TypeError, ValueError):  # no function of Python, or one whose names have no values any more
        return [None] * len(used)
    known = {id(each._variant_tensor): each for each in (*names.nonlocals.values(), *names.globals.values()) if isinstance(each, tf.data.Dataset)}
    return [stage_of(known[id(tensor)]) if id(tensor) in known else None for tensor in used]


def _nodes_of(function: Any) -> list[Any]:
    """The operations of a function of a pipeline, and of the functions in it."""
    graph = function.function.graph.as_graph_def()
    return [*graph.node, *(node for each in graph.library.function for node in each.node_def)]


def describe_pipeline(dataset: Any) -> list[str]:
    """A pipeline's stages with the sizes that decide on the order of its rows, to see whether it is the same one. Reason: as `stage_of`."""
    sizes = [f"{name.lstrip('_')}={int(size)}" for name in ("_batch_size", "_buffer_size", "_cycle_length", "_count")
             if (size := getattr(dataset, name, None)) is not None and isinstance(size, int | tf.__internal__.EagerTensor)]
    own = f"{type(dataset).__name__.lstrip('_')}({', '.join(sizes)})"
    return [own, *(text for each in dataset._inputs() for text in describe_pipeline(each))]


def stateful_random_ops(function: Any) -> list[str]:
    """Operations in a train function that draw from a state inside TensorFlow's kernels.

    Reason: that state can neither be read nor set. The `tf.function` stands in the closure of what Keras calls.
    """
    found = set()
    for cell in getattr(function, "__closure__", None) or ():
        if not hasattr(cell.cell_contents, "_list_all_concrete_functions"):
            continue
        for concrete in cell.cell_contents._list_all_concrete_functions():
            graph = concrete.graph.as_graph_def()
            nodes = [*graph.node, *(node for each in graph.library.function for node in each.node_def)]
            found |= {node.op for node in nodes if node.op in _STATEFUL_RANDOM}
    return sorted(found)


class EagerOperations:
    """Notes which operations run in its block and draw from a state inside TensorFlow's kernels, where no function is traced that could be
    looked at (`run_eagerly=True`).

    Reason: nothing public tells of operations as they run.
    """

    def __init__(self) -> None:
        self.random: set[str] = set()

    def __enter__(self) -> EagerOperations:
        from tensorflow.python.framework import op_callbacks

        op_callbacks.add_op_callback(self._ran)
        return self

    def __exit__(self, *error: object) -> None:
        from tensorflow.python.framework import op_callbacks

        op_callbacks.remove_op_callback(self._ran)

    def _ran(self, operation: Any, *rest: Any, **more: Any) -> None:
        name = operation.decode() if isinstance(operation, bytes) else str(operation)
        if name in _STATEFUL_RANDOM:
            self.random.add(name)


def unseeded_random_ops(dataset: Any) -> list[str]:
    """Operations in a pipeline's functions that draw random numbers and have no seed, neither their own nor a global one.

    Reason: as `stage_of`; and an operation's seeds are only in the graph of the function that it is in.
    """
    nodes = [node for function in dataset._functions() for node in _nodes_of(function)]
    found = {node.op for node in nodes if node.op in _STATEFUL_RANDOM and not node.attr["seed"].i and not node.attr["seed2"].i}
    return sorted(found.union(*(unseeded_random_ops(each) for each in dataset._inputs())))


_STATEFUL_RANDOM = frozenset({"RandomUniform", "RandomUniformInt", "RandomStandardNormal", "TruncatedNormal", "ParameterizedTruncatedNormal",
                              "RandomGamma", "RandomPoisson", "RandomPoissonV2", "RandomShuffle", "Multinomial"})


def shuffles_in(state: tf.Tensor) -> int:
    """How many shuffles hold data in an iterator's saved state.

    Reason: a shuffle keeps the counter from which later epochs draw their order only while it holds data, and the state is a variant
    that nothing else looks into.
    """
    return int(tf.io.serialize_tensor(state).numpy().count(b"epoch_num_random_samples"))


def variables_reader(variables: Sequence[tf.Variable]) -> Callable[[], list[tf.Tensor]]:
    """Reads the values of variables of the CPU, as `read_value` gives each of them, each time it is called.

    Reason: the operation that reads many at once has no public name. One by one, ten thousand variables take two to six times as long, and a
    `tf.function` over them is traced for twenty seconds.
    """
    if not variables:
        return list
    handles = [variable.handle for variable in variables]
    attributes = ("N", len(variables), "dtypes", [variable.dtype.as_datatype_enum for variable in variables])

    def read() -> list[tf.Tensor]:
        return list(execute.execute(b"_ReadVariablesOp", len(handles), handles, attributes, context.context()))

    return read


def is_trackable(value: Any) -> bool:
    """Whether TensorFlow's checkpoints know how to follow this object. Reason: `Trackable` is not exported."""
    return hasattr(value, "_trackable_children")


def layers_of(layer: Any) -> list[Any]:
    """A layer and all layers inside it, at any depth. Reason: `layers` of a model is not recursive."""
    return list(layer._flatten_layers())


def seed_generators_of(layer: Any) -> list[Any]:
    """The generators of random seeds that a layer itself holds. Reason: their variables are listed without saying whose they are."""
    return list(layer._seed_generators)


def uninitialized(variable: Any) -> bool:
    """Whether a Keras variable has no value yet (deferred initialisation)."""
    return getattr(variable, "_value", None) is None


def build_from_spec(model: Any, element_spec: Any) -> None:
    """Builds a compiled model, its metrics, loss and optimizer for batches of this form, without running a step.

    Reason: Keras builds metrics only in the first step, and a checkpoint is assigned before it.
    """
    model._symbolic_build(data_batch=element_spec)


def input_signature(model: Any) -> Any:
    """The form of a built model's inputs, as Keras' own exporter takes it. Reason: `model.export` gives no way to say `training=False`."""
    from keras.src.export.export_utils import get_input_signature

    return get_input_signature(model)


def declares_inputs(model: Any) -> bool:
    """Whether a model says what it is called with: a functional one, or a Sequential with an input.

    Reason: the class `Functional` has no public name.
    """
    from keras.src.models import Functional

    return isinstance(model, Functional) or (isinstance(model, keras.Sequential) and isinstance(getattr(model, "_functional", None), Functional))


def computes_in_16_bits(function: Any) -> bool:
    """Whether a concrete function has an operation on 16-bit floats. Reason: the graph's inner functions are in its definition only."""
    definition = function.graph.as_graph_def()
    nodes = [*definition.node, *(node for inner in definition.library.function for node in inner.node_def)]
    return any(attribute.type in _HALF for node in nodes for attribute in node.attr.values())


_HALF = frozenset({tf.float16.as_datatype_enum, tf.bfloat16.as_datatype_enum})


class _Exactly(int):
    """A number that counts also where it is 0: `fit` evaluates `model._initial_epoch or initial_epoch`."""

    def __bool__(self) -> bool:
        return True


def set_initial_epoch(model: Any, epoch: int | None) -> None:
    """Makes the running `fit` begin at an epoch. Reason: `fit` reads it after `on_train_begin`, from nowhere else.

    It sticks: set it back to None when `fit` ends.
    """
    model._initial_epoch = None if epoch is None else _Exactly(epoch)


def skip_evaluation(model: Any) -> None:
    """Ends the evaluation that `fit` is making after this call, as if it had not begun.

    Reason: where `validation_steps` is given, the iterator of evaluations counts batches over all of them, and none was drawn.
    """
    model.stop_evaluating = True
    iterator = getattr(model, "_eval_epoch_iterator", None)
    if iterator is not None:
        iterator._steps_seen = 0


def leave_out(epoch_iterator: Any, calls: int) -> int:
    """Takes calls out of those that Keras' loop over this iterator of an epoch still makes; no data is drawn for them.

    Reason: the loop has its count in local variables, and one turn of it takes as long as a small step. The next batch that it begins is
    numbered, and the epoch ends, as if the calls had been made.

    Args:
        epoch_iterator: see `FitCall`; nothing is left out where there is none.
        calls: how many.

    Returns:
        How many there were; fewer than `calls` where the epoch has no more.
    """
    batches = getattr(epoch_iterator, "_epoch_iterator", None) or ()
    return sum(1 for _ in itertools.islice(batches, calls))


@dataclass(frozen=True)
class GraphNode:
    """An object in a checkpoint of `tf.train.Checkpoint`.

    Args:
        children: numbers of other objects, by the name of the attribute that leads there.
        key: what its value is read by, or empty where it is no variable.
        name: of the variable, as it was called when it was saved.
    """

    children: dict[str, int]
    key: str
    name: str


def object_graph(serialized: bytes) -> list[GraphNode]:
    """The objects of a checkpoint; the first one is its root.

    Reason: `tf.train.CheckpointView` has the objects' numbers, but not the keys that their values are read by, nor their names.
    """
    from tensorflow.core.protobuf.trackable_object_graph_pb2 import TrackableObjectGraph

    nodes = []
    for node in TrackableObjectGraph.FromString(serialized).nodes:
        value = next((each for each in node.attributes if each.name == "VARIABLE_VALUE"), None)
        nodes.append(GraphNode({child.local_name: child.node_id for child in node.children},
                               value.checkpoint_key if value else "", value.full_name if value else ""))
    return nodes


OBJECT_GRAPH = "_CHECKPOINTABLE_OBJECT_GRAPH"
"""The key of that graph in a checkpoint."""


class _Addresses:
    """Stands for the file that Keras saves weights into, and notes what Keras calls each variable's place in it."""

    def __init__(self) -> None:
        self.found: dict[int, tuple[str, str]] = {}
        self._path = self._name = ""

    def make(self, path: str, metadata: Mapping[str, Any] | None = None) -> _Addresses:
        self._path, self._name = path, str((metadata or {}).get("name", ""))
        return self

    def __setitem__(self, key: str, value: Any) -> None:
        self.found.setdefault(id(value), ("/".join(filter(None, (self._path, "vars", key))), f"{self._name}/{key}"))


def addresses_in_h5(model: Any) -> dict[int, tuple[str, str]]:
    """Where Keras would save each variable of a model in a .weights.h5 file: the dataset's path, and the layer's name with the number behind it;
    by the variable's id.

    Reason: in such a file a weight has no name of its own, only its place among the model's attributes, and Keras offers the walk over them
    only together with writing a file.
    """
    from keras.src.saving import saving_lib

    class Store(_Addresses, saving_lib.H5IOStore):
        """Is taken for a file."""

        def __bool__(self) -> bool:
            return True

    store = Store()
    saving_lib._save_state(model, weights_store=store, assets_store=None, inner_path="", visited_saveables=set())
    return store.found


def functions_of(loaded: Any) -> list[Any]:
    """The traced functions of an object that `tf.saved_model.load` gave, beside its signatures.

    Reason: they have their arguments' order, which signatures have not, and what a restored function was traced for has no public name.
    """
    children = tf.train.TrackableView.children(loaded).values()
    return [concrete for child in children for concrete in getattr(child, "concrete_functions", ())]


def signatures_in(content: bytes) -> tuple[dict[str, dict[str, dict[str, Any]]], str]:
    """The signatures in a `saved_model.pb`, each with its inputs and outputs by name, and the version of TensorFlow that wrote it.

    Reason: TensorFlow offers only loading, which builds the graphs.

    Raises:
        ValueError: where it is none.
    """
    from google.protobuf.message import DecodeError
    from tensorflow.core.protobuf.saved_model_pb2 import SavedModel

    try:
        graphs = SavedModel.FromString(content).meta_graphs
    except DecodeError as error:
        raise ValueError(str(error)) from error
    if not graphs:
        raise ValueError("it has no graph")
    found = {}
    for name, signature in sorted(graphs[0].signature_def.items()):
        if not name.startswith("__"):
            found[name] = {"inputs": _tensors_of(signature.inputs), "outputs": _tensors_of(signature.outputs)}
    return found, graphs[0].meta_info_def.tensorflow_version


def _tensors_of(infos: Mapping[str, Any]) -> dict[str, Any]:
    return {name: {"shape": None if info.tensor_shape.unknown_rank else [None if each.size < 0 else int(each.size) for each in info.tensor_shape.dim],
                   "dtype": tf.as_dtype(info.dtype).name} for name, info in sorted(infos.items())}


def serialized_model(model: Any) -> dict[str, Any]:
    """What a model is made of, as `model.save` writes it. Reason: objects that are shared are only known as such inside this scope."""
    from keras.src.saving.serialization_lib import ObjectSharingScope

    with ObjectSharingScope():
        return dict(keras.saving.serialize_keras_object(model))


def deserialized_model(config: Mapping[str, Any], custom_objects: Mapping[str, Any] | None) -> Any:
    """The model that was described so; no code comes out of the description. Reason: as `serialized_model`."""
    from keras.src.saving.serialization_lib import ObjectSharingScope

    with ObjectSharingScope():
        return keras.saving.deserialize_keras_object(dict(config), custom_objects=dict(custom_objects or {}), safe_mode=True)


def legacy_weights(layer: Any) -> list[Any]:
    """A layer's variables in the order of `.h5` files. Reason: it is not that of `layer.weights`."""
    return [*layer.trainable_weights, *layer.non_trainable_weights]


def own_weights(model: Any) -> list[Any]:
    """The variables that a model holds itself, not through a layer, in the order of `.h5` files. Reason: no list of Keras has them alone."""
    weights = {id(variable) for variable in model.weights}
    return [variable for variable in (*model._trainable_variables, *model._non_trainable_variables) if id(variable) in weights]


def pending_shape(initial_value: Any) -> tuple[tuple[int, ...], str] | None:
    """Shape and type of the Keras variable that is about to be made, seen from `tf.variable_creator_scope`; None where it is not Keras that makes it.

    Reason: Keras hands over only a function that makes the first value, which takes the memory.
    """
    for cell in getattr(initial_value, "__closure__", None) or ():
        if isinstance(cell.cell_contents, keras.Variable):
            return tuple(int(size or 0) for size in cell.cell_contents._shape), str(cell.cell_contents._dtype)
    return None


def global_seed() -> Any:
    """The state of the generator behind `keras.random.*` without a seed, as an array; None where it was not used yet.

    Reason: `keras.random` gives no way to it. It is not made where it is not there: that would draw from Python's `random`.
    """
    from keras.src.backend.common.global_state import get_global_attribute

    generator = get_global_attribute(_GLOBAL_SEED)
    return None if generator is None else np.array(generator.state.value)


def set_global_seed(state: Any) -> None:
    """Gives that generator a state."""
    from keras.src.random.seed_generator import global_seed_generator

    global_seed_generator().state.assign(state)


_GLOBAL_SEED = "global_seed_generator"


def arguments_of_loss(loss: Any) -> dict[str, Any]:
    """What a loss passes on to its function. Reason: `get_config` of Huber and of others leaves it out."""
    return dict(getattr(loss, "_fn_kwargs", {}))


def compile_metrics_built(model: Any) -> bool:
    """Whether the metrics given to `compile` exist already."""
    metrics = getattr(model, "_compile_metrics", None)
    return metrics is None or bool(metrics.built)


@dataclass(frozen=True)
class FitCall:
    """What the `fit` that is calling a callback has in hand.

    Args:
        callback_list: the `CallbackList`, or None where something else calls.
        initial_epoch: as it was given to `fit`.
        batch_size: samples in a batch, or None where they are not known.
        element_spec: the form of the batches, or None; reading it draws nothing from the data.
        epoch_iterator: what makes an iterator for each epoch, or None.
    """

    callback_list: Any = None
    initial_epoch: int = 0
    batch_size: int | None = None
    element_spec: Any = None
    epoch_iterator: Any = None


def new_iterator(call: FitCall) -> Any:
    """An iterator as the `fit` will make one for its first epoch."""
    return iter(call.epoch_iterator._distributed_dataset)


def keeps_iterator(call: FitCall, iterator: Any) -> bool:
    """Whether the next epoch goes on with the iterator of the one that has just ended. Reason: Keras makes a new one where the data has ended."""
    return iterator is not None and getattr(call.epoch_iterator, "_current_iterator", None) is iterator


def fit_call(callback: Any) -> FitCall:
    """Looks at the `fit` that is calling `callback.on_train_begin`: up the frames, its `CallbackList`, and what has called that.

    Reason: a callback in a plain list is not told of the list, and the other callbacks' state belongs to the run. On a finished run no
    step is made that could show the batches' form, and the model may have to be built to receive its weights.
    """
    callback_list, caller = _list_of(callback)
    fit = caller.f_locals if caller is not None else {}
    if "epoch_iterator" not in fit:
        return FitCall()
    iterator = fit["epoch_iterator"]
    dataset = getattr(iterator, "_distributed_dataset", None)
    adapter = getattr(iterator, "data_adapter", None)
    return FitCall(callback_list, fit.get("initial_epoch") or 0, getattr(adapter, "batch_size", None) or _batch_size(dataset),
                   getattr(dataset, "element_spec", None), iterator)


def evaluation_iterator() -> Any:
    """What makes the iterator of the evaluation that is calling a callback's `on_test_begin`, seen from there; None where that does not show.

    Reason: it is in the loop only, and a model's own `evaluate` need not use the one that `fit` keeps.
    """
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and frame.f_code.co_name != "fit":
        if "epoch_iterator" in frame.f_locals:
            return frame.f_locals["epoch_iterator"]
        frame = frame.f_back
    return None


def callbacks_of_coming_fit(callback: Any) -> list[Any]:
    """The callbacks of the `fit` that is making its `CallbackList` now, seen from `callback.set_params`; empty where it is no `fit`.

    Reason: `CSVLogger` empties its file in `on_train_begin`, and a callback hears of the others no earlier.
    """
    callback_list, caller = _list_of(callback)
    return list(callback_list.callbacks) if caller is not None and caller.f_code.co_name == "fit" else []


OF_THE_PROCESS = ("_global_train_batch", "_global_test_batch", "_batch_start_time", "_epoch_start_time", "_is_tracing", "_profiler_started")
"""What Keras' `TensorBoard` callback keeps of this process and its own `fit`: where it counts, since when, and whether a profile is under way."""


def count_on(tensorboard: Any, trained: int, evaluated: int) -> None:
    """Makes Keras' `TensorBoard` callback go on after so many calls of the train and the test function.

    Reason: it counts from 0 in each `fit`, and by that number it labels batches, thins them out (`update_freq`) and begins a profile.
    """
    tensorboard._global_train_batch, tensorboard._global_test_batch = trained, evaluated


def count_steps_from_here(tensorboard: Any) -> None:
    """Makes the steps per second of the epoch that goes on be those of this process.

    Reason: the callback remembers the optimizer's count at the beginning of an epoch, which for this process is here.
    """
    if tensorboard.write_steps_per_second:
        tensorboard._previous_epoch_iterations = keras.ops.convert_to_tensor(tensorboard.model.optimizer.iterations, "float32")


def close_writers(tensorboard: Any) -> None:
    """Closes the event files of Keras' `TensorBoard` callback as its `on_train_end` does, and lets go of them.

    Reason: Keras does not call that where a `fit` ends with an exception. The files stay open then for as long as the process lives, and one of them
    is what every summary of the program goes to.
    """
    while tensorboard._prev_summary_state:
        tensorboard._pop_writer()
    tensorboard._close_writers()
    tensorboard._writers = {}


def rows_in_memory(call: FitCall, most: int = 32) -> Any:
    """The end of the last batch of the inputs that were given to `fit` as arrays, `most` rows of it, or None.

    Reason: the adapter keeps them to itself, and drawing from the data would change its state.
    """
    given = getattr(getattr(call.epoch_iterator, "data_adapter", None), "_inputs", None)
    if given is None or not call.batch_size:
        return None
    inputs = keras.utils.unpack_x_y_sample_weight(given)[0]
    arrays = tf.nest.flatten(inputs)
    if not all(isinstance(array, np.ndarray | tf.Tensor) for array in arrays):
        return None
    rows = min(len(arrays[0]) % call.batch_size or call.batch_size, len(arrays[0]), most)
    return tf.nest.map_structure(lambda array: array[len(array) - rows:], inputs)


def _list_of(callback: Any) -> tuple[Any, Any]:
    """The `CallbackList` that is calling a callback, whichever methods of subclasses lie between, and the frame that has called the list."""
    frame: FrameType | None = sys._getframe(2)
    while frame is not None and not _holds(frame.f_locals.get("self"), callback):
        frame = frame.f_back
    callback_list = frame.f_locals["self"] if frame is not None else None
    while frame is not None and frame.f_locals.get("self") is callback_list:
        frame = frame.f_back
    return callback_list, frame


def _holds(value: Any, callback: Any) -> bool:
    return isinstance(value, keras.callbacks.CallbackList) and any(each is callback for each in value.callbacks)


def _batch_size(dataset: Any) -> int | None:
    """The batch size of a tf.data pipeline, where a `batch` is among its last stages. Reason: `element_spec` shows only fixed sizes."""
    for _ in range(20):
        size = getattr(dataset, "_batch_size", None)
        if size is not None:
            return int(size)
        dataset = getattr(dataset, "_input_dataset", None)
    return None


_IN_LAYERS = frozenset({
    "_tracker", "_inbound_nodes", "_outbound_nodes", "_lock", "_auto_config", "_distribute_strategy", "train_function", "test_function",
    "predict_function", "_compile_config",
})
_IN_CHECKPOINTS = frozenset({"_save_counter", "save_counter", "_kwargs"})


NOT_FOLLOWED = _IN_LAYERS | _IN_CHECKPOINTS
"""All names of which `not_followed` speaks."""


def not_followed(value: Any) -> frozenset[str]:
    """Attributes of this object that hold no state of their own: Keras' or TensorFlow's book-keeping, compiled functions, ways back up."""
    if isinstance(value, tf.train.Checkpoint):
        return _IN_CHECKPOINTS
    return _IN_LAYERS if isinstance(value, keras.Layer) else frozenset()


def attributes(value: Any) -> Iterator[tuple[str, Any]]:
    """The attributes of an object that may lead to state, in the order in which they were set; those in slots come last."""
    skipped = not_followed(value)
    for name, attribute in getattr(value, "__dict__", {}).items():
        if name not in skipped:
            yield name, attribute
    for name in slots_of(type(value)):
        if hasattr(value, name):
            yield name, getattr(value, name)


def slots_of(kind: type[Any]) -> tuple[str, ...]:
    """Names of the attributes that a type's objects keep in slots."""
    found = [cls.__dict__.get("__slots__", ()) for cls in kind.__mro__]
    return tuple(name for slots in found for name in ((slots,) if isinstance(slots, str) else slots) if not name.startswith("__"))


@contextmanager
def summaries_ask(condition: Callable[[], tf.Tensor]) -> Iterator[None]:
    """In its block, and in functions that this thread traces there, summaries are written only where this holds too.

    Reason: `tf.summary.record_if` takes the place of a condition around it, and so gives way to one within; and to say what held before,
    `tf.summary.should_record_summaries` has to know the writer, which a step may open for itself.
    """
    asked, thread = summary_ops_v2._should_record_summaries_internal, get_ident()

    def ask(default_state: bool) -> tf.Tensor:
        writes = asked(default_state)
        known = tf.get_static_value(writes)
        return tf.logical_and(writes, condition()) if get_ident() == thread and (known is None or known) else writes

    summary_ops_v2._should_record_summaries_internal = ask
    try:
        yield
    finally:
        summary_ops_v2._should_record_summaries_internal = asked
