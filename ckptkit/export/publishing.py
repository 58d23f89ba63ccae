"""Exports a model from start to end: traces, writes, checks and publishes it, or leaves nothing."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import xxhash

from ckptkit.clock import Clock, SystemClock
from ckptkit.errors import ConfigError, ExportError, StorageError
from ckptkit.export import trace as traces
from ckptkit.export.check_process import Checker
from ckptkit.export.export_spec import ExportSpec
from ckptkit.export.finite_variables import check_finite_variables
from ckptkit.export.proof import prove
from ckptkit.export.served_versions import served_already
from ckptkit.export.signatures import (
    SERVE,
    SERVING_DEFAULT,
    DataForm,
    check_signatures,
    find_endpoints,
)
from ckptkit.exports import version_directories
from ckptkit.exports.export_record import ExportRecord, ExportSource, Proof, SignatureRecord
from ckptkit.log import logger
from ckptkit.run.library_versions import versions
from ckptkit.storage.files import FileSystem


@dataclass(frozen=True)
class Published:
    """The result of an export.

    Args:
        path: the version's directory.
        record: its export record.
        is_new: whether it was published now; False if the same step of the same model was already
            published.
    """

    path: Path
    record: ExportRecord
    is_new: bool = True


def export(
    model: Any,
    base: Path,
    spec: ExportSpec,
    *,
    version: int | None = None,
    source: ExportSource | None = None,
    data: DataForm | None = None,
    mine: Path | None = None,
    files: FileSystem | None = None,
    clock: Clock | None = None,
    hurried: Callable[[], bool] = lambda: False,
    finite: bool = False,
) -> Published:
    """Export a model; see `export_saved_model`.

    Args:
        model: the model to export.
        base: the base directory.
        spec: how to export and check it.
        version: the version number, or None.
        source: where the model came from.
        data: the form and a sample of the training data, as far as `fit` shows them.
        mine: the version that this run published last, if it has not trained since.
        files: the disk.
        clock: the clock.
        hurried: returns whether this process is about to stop and cannot wait for the check.
        finite: whether the variables must be finite. A run knows that of its checkpoints.

    Raises:
        ExportError: If it cannot be exported or verified; no version is left behind.
        ConfigError: If an argument is invalid.
        StorageError: If the disk refuses.
    """
    clock, disk = clock or SystemClock(), files or FileSystem()
    check_signatures(spec.signatures)
    number = version_directories.next_number(base, version, clock.now())
    name = _name(model)
    try:
        with (
            Checker(spec.limit_secs, hurried) as checker,
            version_directories.writing(disk, base, number) as directory,
        ):
            return _export(
                model,
                name,
                directory,
                spec,
                checker,
                version=version,
                source=source or ExportSource(),
                data=data,
                mine=mine,
                disk=disk,
                clock=clock,
                finite=finite,
            )
    except (ConfigError, StorageError):
        raise
    except Exception as error:
        raise ExportError(f"The model {name!r} could not be exported to {base}: {error}") from error


def _export(
    model: Any,
    name: str,
    directory: Path,
    spec: ExportSpec,
    checker: Checker,
    *,
    version: int | None,
    source: ExportSource,
    data: DataForm | None,
    mine: Path | None,
    disk: FileSystem,
    clock: Clock,
    finite: bool,
) -> Published:
    base = directory.parent
    traced = _traced(model, spec, data or DataForm())
    variables = traces.variables_of(traced, model)
    if finite:
        check_finite_variables(variables)
    live = traces.digests(variables)
    whole = xxhash.xxh3_128_hexdigest(repr(sorted(live.items())).encode())
    names = {each.endpoint.name for each in traced}
    if source.step is not None:
        there, said = served_already(
            base, source.step, lambda record: _is_same(record, whole, traced), mine
        )
        if said:
            logger.info("%s", said)
        if there is not None and there.record is not None:
            return Published(there.path, there.record, is_new=False)
    default = SERVING_DEFAULT if SERVING_DEFAULT in names else traced[0].endpoint.name
    if default not in (SERVE, SERVING_DEFAULT):
        logger.info(
            "serving_default is an alias of %r; signatures={'serving_default': ...} chooses "
            "another",
            default,
        )
    traces.write(traced, variables, traces.resources_of(traced, model), default, directory)
    began = time.monotonic()
    entries = version_directories.sync(disk, directory)
    traces.check_variables(directory, live)
    answers = checker.ask(
        directory, {each.endpoint.name: each.sample for each in traced}, spec.imports
    )
    proofs = prove(traced, answers, spec.rtol, spec.atol)
    check_secs = time.monotonic() - began
    signatures = {
        each.endpoint.name: SignatureRecord(
            inputs=each.inputs,
            outputs=each.outputs,
            proof=proofs[each.endpoint.name],
            graph=each.graph,
        )
        for each in traced
    }
    record = ExportRecord(
        exported_at=clock.now(),
        model=name,
        source=source,
        signatures=signatures,
        default=default,
        sample=_made({each.endpoint.made for each in traced}),
        variables=whole,
        check_secs=check_secs,
        files=entries,
        versions=versions(),
    )
    path = version_directories.publish(disk, directory, record, version, clock.now())
    logger.info(
        "published the model as %s (checked in %.1f s: %s)", path, check_secs, in_words(proofs)
    )
    try:
        for gone in version_directories.retain(disk, base, spec.keep):
            logger.info("removed version %d of %s: keep=%d", gone.number, base, spec.keep)
    except StorageError as error:  # the new version is complete, so only warn
        logger.warning("%s is published; an older version could not be removed: %s", path, error)
    return Published(path, record)


def _traced(model: Any, spec: ExportSpec, data: DataForm) -> list[traces.Traced]:
    try:
        endpoints = find_endpoints(model, spec.signatures, spec.sample, data)
        return [traces.with_sample(traces.trace(endpoint)) for endpoint in endpoints]
    except Exception:
        if data.specs is not None or data.sample is not None:
            # The data has the form that `fit` takes. A custom train step may call the model with
            # other inputs.
            return _traced(model, spec, DataForm())
        if data.fixed_batch or all(
            tensor.shape[0] is None for tensor in getattr(model, "inputs", None) or ()
        ):
            raise
        # A layer that keeps a state for each row accepts no other number of rows.
        return _traced(model, spec, DataForm(fixed_batch=True))


def _is_same(record: ExportRecord, variables: str, traced: Sequence[traces.Traced]) -> bool:
    if record.variables != variables or record.signatures.keys() != {
        each.endpoint.name for each in traced
    }:
        return False
    pairs = [(record.signatures[each.endpoint.name], each) for each in traced]
    return all(
        (was.inputs, was.outputs) == (now.inputs, now.outputs) and was.graph in ("", now.graph)
        for was, now in pairs
    )


def in_words(proofs: dict[str, Proof]) -> str:
    """Describe how signatures were verified."""
    words = {
        "equal_bits": "equal bits",
        "within_tolerances": "equal within tolerances",
        "runs": "runs, its values are random",
        "unproven": "unproven, it needs a GPU",
    }
    kinds = {proof.how for proof in proofs.values()}
    if len(kinds) == 1:
        return words[kinds.pop()]
    return "; ".join(f"{name}: {words[proof.how]}" for name, proof in proofs.items())


def _made(ways: set[str]) -> str:
    return ways.pop() if len(ways) == 1 else "given"


def _name(model: Any) -> str:
    return str(
        getattr(model, "name", None) or getattr(model, "__name__", None) or type(model).__name__
    )
