"""The options of a run, shared by `CheckpointManager`, `CheckpointCallback` and the session.

To add an option, add a line with its description to `CallbackOptions` and a field to `RunOptions`.
Also add a check to `_CHECKS` if some values are invalid.
"""

from __future__ import annotations

import functools
import inspect
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypedDict, TypeVar, Unpack

from ckptkit.clock import Clock, SystemClock
from ckptkit.errors import ConfigError
from ckptkit.layout import TRIAL, RunLayout, literal_braces, run_layout
from ckptkit.log import logger
from ckptkit.mirror.mirror_settings import (
    Mirror,
    cache_directory,
    check_mirror,
    mirror_in_place,
)
from ckptkit.policies import (
    Adaptive,
    Adopt,
    KeepLatest,
    KeepOlder,
    KeepPolicy,
    SavePolicy,
    WarmStart,
    check_adopt,
    check_foreign_arguments,
    check_init_from,
    with_best,
)
from ckptkit.policies.anchor_policies import AdaptiveAnchors, AnchorPolicy
from ckptkit.policies.even_spread import SpreadKeeps, SpreadSaves
from ckptkit.preemption.policy import Preemption
from ckptkit.restore.hyperparameter_comparison import check_changed
from ckptkit.run.audit_path_redirect import path_to_write
from ckptkit.run.audit_settings import instructions_of
from ckptkit.storage.files import FileSystem
from ckptkit.tensorboard.event_file_repair import check_directory
from ckptkit.tracking.hyperparameters import check_hparams

if TYPE_CHECKING:
    from ckptkit.run.verify import Depth

C = TypeVar("C")

DEFAULT_SAVE: SavePolicy = Adaptive()
DEFAULT_KEEP: KeepPolicy = KeepLatest(2) | KeepOlder()


class CallbackOptions(TypedDict, total=False):
    """The options that `CheckpointCallback` and `CheckpointManager` share; None is the default.

    Args:
        save: when to save; by default `Adaptive()`: first after a few seconds, then as often as
            costs at most 1 % of the time, and at least every ten minutes. If `keep` compares a
            metric, the default also saves whenever that metric is among the best. The end of
            training is always saved.
        keep: which checkpoints stay; by default `KeepLatest(2) | KeepOlder()`: the newest two, and
            one that is at least ten minutes older.
        preemption: how requests to stop are handled: signals, grace period in seconds, exit code;
            by default `Preemption()`.
        background: whether a save is written on a background thread while training continues
            (default), or on the training thread.
        hparams: your own hyperparameters by name, by default none. They are recorded and compared
            at each start, and have no other effect.
        changed: which value counts if a hyperparameter in the code differs from the run's, by name:
            `{"learning_rate": "code"}` or `"checkpoint"`. By default a difference is an error.
            Write `"hparams.learning_rate"` for your own hyperparameter if an optimizer's argument
            has the same name.
        exact: what happens if the run cannot resume bit for bit after an interruption: `"warn"`
            (default) logs the reason, `"require"` raises an error, `"off"` does nothing.
            `"replace"` logs it too, and makes the operations of `tf.random` stateless in each
            `tf.function` that is traced while the run is open, so that they continue exactly. Then
            they draw other numbers than without it.
        verify: how thoroughly a checkpoint is verified before it is restored: `"full"` reads every
            byte, `"quick"` compares sizes and reads the index, `"auto"` (default) reads every byte
            as long as that takes less than a second per GB. In a loop, `"auto"` compares
            TensorFlow's checksums instead of digests, which are in the same bytes.
        fresh: a label, by default none. With a label that is new to this run, all earlier
            checkpoints are moved to `<run>/aside/` and training starts at step 0. Later starts with
            the same label resume that training.
        init_from: weights with which the run begins while it has no checkpoint of its own: a run
            or one of its checkpoints (`"runs/a@best"`), or whatever `ckptkit.load_weights` reads; a
            `WarmStart` for more; for several models a dictionary by their names in `state`. It
            names something outside of this run.
        adopt: training state of another system with which the run begins while it has no
            checkpoint of its own: a directory of `tf.train.CheckpointManager`, `BackupAndRestore`,
            `ModelCheckpoint` or `OrbaxCheckpoint`, or an `Adopt`. The source is only read.
        anchors: how a save stores the position in tf.data pipelines with large buffers; by default
            `AdaptiveAnchors()`. A small state of an iterator is in every checkpoint. For a large
            one, a save counts batches since an earlier state, and a resume draws them again.
        tensorboard: the directory with the event files that the program writes, such as the
            `log_dir` of `keras.callbacks.TensorBoard`; by default none. On a resume, points that
            were written after the restored checkpoint are removed from all files below it. The
            previous files stay there under names that TensorBoard does not read. A failure is
            logged and training continues. If one process trains several runs at once, give each its
            own directory, such as `"logs/<run>"`.
        mirror: a place on an object store to which checkpoints are copied behind training, such as
            `"s3://bucket/runs/x"`, or a `Mirror`; by default none. A start with an empty directory
            fetches the newest checkpoint from there.
    """

    save: SavePolicy | None
    keep: KeepPolicy | None
    preemption: Preemption | None
    background: bool | None
    hparams: Mapping[str, Any] | None
    changed: Mapping[str, Literal["code", "checkpoint"]] | None
    exact: Literal["warn", "require", "replace", "off"] | None
    verify: Depth | None
    fresh: str | None
    init_from: str | os.PathLike[str] | WarmStart | Mapping[str, Any] | None
    adopt: str | os.PathLike[str] | Adopt | None
    anchors: AnchorPolicy | None
    tensorboard: str | os.PathLike[str] | None
    mirror: str | Mirror | None


class ManagerOptions(CallbackOptions, total=False):
    """The options of `CheckpointManager`.

    Args:
        clock: the clock; tests pass their own.
        files: the file system; tests pass their own.
    """

    clock: Clock | None
    files: FileSystem | None


@dataclass(frozen=True, kw_only=True)
class RunOptions:
    """The checked options of a run with all defaults filled in; nothing is open yet.

    Args:
        layout: the names inside the run directory.
        state: the objects to save, by name. The other fields are described in `CallbackOptions` and
            `ManagerOptions`.
        check_objects: called before each snapshot; raises an error if `state` was read from a
            `tf.train.Checkpoint` whose objects have changed. None for a dictionary.
    """

    layout: RunLayout
    state: Mapping[str, Any]
    check_objects: Callable[[], None] | None = None
    save: SavePolicy
    keep: KeepPolicy
    preemption: Preemption
    background: bool
    hparams: Mapping[str, object]
    changed: Mapping[str, str]
    exact: str
    verify: Depth
    fresh: str | None
    init_from: WarmStart | Mapping[str, WarmStart] | None = None
    adopt: Adopt | None = None
    anchors: AnchorPolicy
    tensorboard: Path | None
    mirror: Mirror | None
    clock: Clock
    files: FileSystem


def make_options(
    directory: str | os.PathLike[str], state: Mapping[str, Any], **given: Unpack[ManagerOptions]
) -> RunOptions:
    """Check the options of a run, and fill in the defaults.

    Args:
        directory: the run directory, or a URL of an object store. The run is then copied to that
            place, and its directory is a cache; see `cache_directory`.
        state: what is saved, by name.
        **given: see `ManagerOptions`; None is the default.

    Raises:
        ConfigError: If a value is invalid.
    """
    if (in_place := mirror_in_place(directory)) is not None:
        if given.get("mirror") is not None:
            raise ConfigError(
                "A run that is named by a URL is copied to that place. Received a URL and also "
                f"mirror={given['mirror']!r}: name a directory, or leave mirror out."
            )
        given["mirror"] = in_place
        directory = cache_directory(in_place.place, os.environ)
    layout = layout_of(directory)
    if TRIAL in os.fspath(directory) and given.get("mirror") is not None:
        raise ConfigError(
            f"A directory with {TRIAL} is one run for each training, and a mirror is the place of "
            "one run. Name a directory without it, or leave mirror out."
        )
    if (name := literal_braces(directory)) is not None:
        logger.warning(
            "the name of the directory %r contains %s literally. If its value is meant, write an "
            "f-string: f%r",
            os.fspath(directory),
            name,
            os.fspath(directory),
        )
    options = dict.fromkeys(ManagerOptions.__annotations__) | given
    checked = {
        name: _CHECKS.get(name, lambda value: value)(value) for name, value in options.items()
    }
    if checked["init_from"] is not None and checked["adopt"] is not None:
        raise ConfigError(
            "init_from and adopt both say with what the run begins: weights, or the whole training "
            "state of another system. Pass one of them."
        )
    if given.get("save") is None:
        checked["save"] = with_best(DEFAULT_SAVE, checked["keep"])
    # An audit sets its own saves, so that both trainings save at the same steps.
    if (instructions := instructions_of(os.environ)) is not None:
        checked["save"] = checked["save"] | SpreadSaves(instructions.every)
        checked["keep"] = checked["keep"] | SpreadKeeps(instructions.every)
        # It trains copies of the run, which must not touch the place of the run itself.
        checked["mirror"] = None
    return RunOptions(layout=layout, state=dict(state), **checked)


def layout_of(directory: str | os.PathLike[str]) -> RunLayout:
    """Return the layout of the run to train; in an audit, the layout of the audit's copy.

    Raises:
        ConfigError: If the directory is not a path.
    """
    # Absolute, because the program may change its working directory.
    return RunLayout(path_to_write(run_layout(directory).root.absolute()))


def with_absolute_paths(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return options with absolute paths, because the working directory may change before use."""
    paths = {name: _CHECKS[name](options[name]) for name in _PATHS if name in options}
    return {**options, **paths}


# -- checks


def _policy(name: str, kind: type[Any], default: Any, example: str) -> Callable[[Any], Any]:
    def check(value: Any) -> Any:
        if value is not None and not isinstance(value, kind):
            raise ConfigError(f"{name} is a policy, such as {example}. Received: {name}={value!r}.")
        return default if value is None else value

    return check


def _check_background(background: Any) -> bool:
    if background is not None and not isinstance(background, bool):
        raise ConfigError(
            "Expected background=True (a thread writes the saves) or background=False. "
            f"Received: background={background!r}."
        )
    return background is not False


def _check_fresh(fresh: Any) -> str | None:
    if fresh is not None and (not isinstance(fresh, str) or not fresh):
        raise ConfigError(
            "fresh is a label, such as 'second-try'; change it for another fresh start. "
            f"Received: fresh={fresh!r}."
        )
    return fresh


def _check_exact(exact: Any) -> str:
    if exact not in (None, "warn", "require", "replace", "off"):
        raise ConfigError(
            "exact says what happens if a run cannot resume bit for bit. Expected 'warn', "
            "'require' (an error), 'replace' (a warning, and tf.random in a tf.function becomes "
            f"exact) or 'off'. Received: exact={exact!r}."
        )
    return exact or "warn"


def _check_verify(verify: Any) -> str:
    if verify not in (None, "auto", "full", "quick"):
        raise ConfigError(
            "verify says how thoroughly a checkpoint is verified before it is restored. Expected "
            "'auto', 'full' (every byte is read) or 'quick' (sizes and the index). "
            f"Received: verify={verify!r}."
        )
    return verify or "auto"


_CHECKS: dict[str, Callable[[Any], Any]] = {
    "save": _policy("save", SavePolicy, DEFAULT_SAVE, "ckptkit.EveryNSteps(500)"),
    "keep": _policy("keep", KeepPolicy, DEFAULT_KEEP, "ckptkit.KeepLatest(2)"),
    "preemption": _policy(
        "preemption", Preemption, Preemption(), "ckptkit.Preemption(grace_secs=30)"
    ),
    "background": _check_background,
    "hparams": check_hparams,
    "changed": check_changed,
    "exact": _check_exact,
    "verify": _check_verify,
    "fresh": _check_fresh,
    "init_from": check_init_from,
    "adopt": check_adopt,
    "anchors": _policy(
        "anchors", AnchorPolicy, AdaptiveAnchors(), "ckptkit.AdaptiveAnchors(redraw_secs=60)"
    ),
    "tensorboard": check_directory,
    "mirror": check_mirror,
    "clock": lambda clock: clock or SystemClock(),
    "files": lambda files: files or FileSystem(),
}
"""The check of each option: takes the given value or None, and returns the value to use."""

_PATHS = ("tensorboard",)
"""The options that name a file or directory; their checks return absolute paths."""


# -- public classes that take these options


def takes_options(*kinds: type[Any]) -> Callable[[type[C]], type[C]]:
    """Return a class decorator that documents the `**options` of a constructor.

    The line `{options}` of the class's docstring is replaced by the descriptions in `kinds`, and
    the signature gets each option. So an option is described once, and `help()`, editors and errors
    about misspelled names show it.

    Args:
        *kinds: typed dictionaries with an `Args:` section.
    """

    def decorate(cls: type[C]) -> type[C]:
        described = "\n".join(_described(kind) for kind in kinds)
        cls.__doc__ = (cls.__doc__ or "").replace("        {options}", described)
        construct: Callable[..., None] = vars(cls)["__init__"]
        signature = _signature(construct, [kind.__annotations__ for kind in kinds])

        @functools.wraps(construct)
        def checked(*args: Any, **named: Any) -> None:
            check_foreign_arguments(named.keys() - signature.parameters.keys())
            signature.bind(*args, **named)  # raises Python's usual error for a misspelled name
            try:
                construct(*args, **named)
            except ConfigError as error:
                # The user's line is what has to change, so the frames of the checks are left out.
                raise error.with_traceback(None) from error.__cause__

        vars(checked)["__signature__"] = signature
        type.__setattr__(cls, "__init__", checked)
        return cls

    return decorate


def _described(kind: type[Any]) -> str:
    _, _, described = inspect.cleandoc(kind.__doc__ or "").partition("Args:\n")
    return "\n".join(f"    {line}" if line else "" for line in described.rstrip().splitlines())


def _signature(
    construct: Callable[..., None], options: list[Mapping[str, Any]]
) -> inspect.Signature:
    signature = inspect.signature(construct)
    own = [
        each
        for each in signature.parameters.values()
        if each.kind is not inspect.Parameter.VAR_KEYWORD
    ]
    named = {name: kind for each in options for name, kind in each.items()}
    for name, kind in named.items():
        own.append(
            inspect.Parameter(
                name,
                inspect.Parameter.KEYWORD_ONLY,
                default=None,
                annotation=getattr(kind, "__forward_arg__", kind),
            )
        )
    return signature.replace(parameters=own)
