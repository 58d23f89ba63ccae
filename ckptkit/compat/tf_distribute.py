"""Private names of `tf.distribute`.

Tried with TensorFlow 2.20 and 2.21, and with Keras 3.14 and 3.15.
"""

from __future__ import annotations

from typing import Any

import tensorflow as tf
from tensorflow.data.experimental import AutoShardPolicy, ExternalStatePolicy
from tensorflow.python.data.experimental.ops import distribute


def distributed_variable_of(component: Any) -> Any:
    """Return the distributed variable to which a variable on one device belongs, or None.

    Reason: a traced function knows the variable on each device, and the program the one that
    TensorFlow spreads. No public name leads from the first to the second.

    Args:
        component: a `tf.Variable` on one device.
    """
    container = getattr(component.handle, "_distributed_container", None)
    return container() if container is not None else None


def batch_size_of(dataset: tf.data.Dataset) -> int | None:
    """Return the batch size by which TensorFlow splits a dataset for replicas, or None if unknown.

    Reason: TensorFlow finds it by looking through the pipeline, in a function that is not public.

    Args:
        dataset: the dataset; none of it is read.
    """
    size = int(distribute.compute_batch_size(dataset))
    return size if size >= 0 else None


def splits_evenly(dataset: tf.data.Dataset, replicas: int, size: int) -> bool:
    """Return whether TensorFlow gives replicas even parts of a batch, and not full ones first.

    Reason: it plans even parts, and then replaces them if it shards the data and not its files,
    even for one worker. Only its own operation knows which it does under the policy AUTO.

    Args:
        dataset: the dataset; none of it is read.
        replicas: the number of replicas.
        size: its batch size.
    """
    policy = dataset.options().experimental_distribute.auto_shard_policy
    if policy != AutoShardPolicy.AUTO:
        return bool(policy != AutoShardPolicy.DATA)
    # The question copies the tensors of a dataset. Large ones are data, not names of files.
    if any((each.shape.num_elements() or 0) > 10**7 for each in _source_tensors(dataset)):
        return False
    split = dataset.rebatch(distribute.batch_sizes_for_worker(size, 1, replicas, 0))
    sharded = tf.raw_ops.AutoShardDataset(
        input_dataset=split._variant_tensor,
        num_workers=1,
        index=0,
        auto_shard_policy=int(policy),
        num_replicas=replicas,
        **split._flat_structure,
    )
    graph = tf.raw_ops.DatasetToGraphV2(
        input_dataset=sharded, external_state_policy=ExternalStatePolicy.IGNORE.value
    )
    nodes = tf.compat.v1.GraphDef.FromString(graph.numpy()).node
    return any(node.op == "RebatchDatasetV2" for node in nodes)


def _source_tensors(dataset: Any) -> list[Any]:
    inputs = dataset._inputs()
    if not inputs:
        return list(getattr(dataset, "_tensors", ()))
    return [tensor for each in inputs for tensor in _source_tensors(each)]
