"""Opens saved weights of any format, with what preprocessing layers have learnt."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from ckptkit.load import checkpoint_weights, keras_files
from ckptkit.load.adapted_source import adapted_of_file, adapted_of_run, with_adapted
from ckptkit.load.formats import Format, FoundFormat, newest_version
from ckptkit.load.leased_checkpoint import read_run
from ckptkit.load.source_arguments import check_arguments
from ckptkit.load.weight_averages import with_averages
from ckptkit.load.weight_source import WeightSource
from ckptkit.run.checkpoint_catalog import Checkpoint

T = TypeVar("T")


def with_source(
    found: FoundFormat,
    model: Any,
    step: int | str | None,
    name: str | None,
    action: Callable[[WeightSource], T],
    *,
    averages: bool = False,
) -> T:
    """Call a function with the opened source, while its files are open and cannot be deleted."""
    check_arguments(found, step, name, averages=averages)
    if found.format is Format.RUN:
        return read_run(
            found,
            step,
            lambda checkpoint: action(
                source_of_run(checkpoint, model, name, best=step == "best", averages=averages)
            ),
        )
    if found.format is Format.CHECKPOINT:
        checkpoint = checkpoint_weights.in_a_run(found.path)
        return action(
            with_adapted(checkpoint_weights.of_tensorflow(found.path, model, name), model, [])
            if checkpoint is None
            else source_of_run(checkpoint, model, name)
        )
    if found.format in (Format.SAVED_MODEL, Format.VERSIONS):
        source = checkpoint_weights.of_saved_model(newest_version(found), model, name)
        return action(with_adapted(source, model, []))
    with keras_files.opened(found.path, model) as source:
        return action(with_adapted(source, model, adapted_of_file(found, model)))


def source_of_run(
    checkpoint: Checkpoint,
    model: Any,
    name: str | None,
    *,
    best: bool = False,
    averages: bool = False,
) -> WeightSource:
    """Return the weights of a model in a checkpoint of a run, with what layers have learnt.

    Args:
        checkpoint, model, name, best: as for `checkpoint_weights.of_run`.
        averages: whether to take the averages of the optimizer instead of the weights.

    Raises:
        ConfigError, CheckpointNotFoundError: As for `of_run` and `with_averages`.
    """
    source = checkpoint_weights.of_run(checkpoint, model, name, best=best)
    if averages:
        source = with_averages(source, checkpoint)
    return with_adapted(source, model, adapted_of_run(checkpoint, source.state))
