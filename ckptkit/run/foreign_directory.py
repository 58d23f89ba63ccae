"""Recognises a directory that is not a run, before anything is written into it."""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from ckptkit.layout import (
    ADOPTION_FILE,
    MANIFEST,
    STATE_FILE,
    CheckpointName,
    RunLayout,
    is_journal,
)

Listing = Mapping[str, "Sequence[str] | None"]
"""The names in a directory: None for a file, and the names inside for a subdirectory."""

_MOST_NAMES = 1000

OF_A_RUN = frozenset(
    {
        ADOPTION_FILE,
        "aside",
        "architecture",
        "checkpoints",
        "control",
        "export",
        "fresh",
        "journal",
        "lock",
        "log",
        "mirror.json",
        "pins",
        "quarantine",
        "seed",
        "tensorboard",
    }
)
"""The names in a run directory."""

_WEIGHTS = re.compile(r".+\.(keras|h5|hdf5|pt|pth|safetensors)")
_ORBAX = frozenset({"_CHECKPOINT_METADATA", "_METADATA", "manifest.ocdbt", "ocdbt.process_0"})
_BACKUP = "training_metadata.json"
_TUNER = "oracle.json"
_HIDDEN = re.compile(r"\..+|lost\+found|events\.out\.tfevents\..+|plugins")
# Files that a scheduler, a script or the user may create there before training.
_HARMLESS = re.compile(
    r".+\.(cfg|csv|err|ini|json|jsonl|log|md|out|py|sbatch|sh|toml|txt|yaml|yml)"
)


@dataclass(frozen=True)
class Foreign:
    """A description of a directory that is not a run.

    Args:
        what: its content in words, as they follow its path in a message.
        way_on: what to do.
    """

    what: str
    way_on: str


def recognise(
    directory: Path, names: Listing, home: Path | None = None, run: Path | None = None
) -> Foreign | None:
    """Recognise the content of a directory without a run's journal and checkpoints; pure.

    Args:
        directory: its path.
        names: the names in it.
        home: the user's home directory.
        run: the run to whose own directories it belongs, such as `export`, if there is one.

    Returns:
        The description, or None for a directory in which a run may begin.
    """
    return (
        _part_of_a_run(directory, names)
        or (Foreign(f"is a part of the run in {run}", _name_the_run(run)) if run else None)
        or _runs(directory, names)
        or _training_state(directory, names)
        or _training_state(directory / "checkpoints", dict.fromkeys(names.get("checkpoints") or ()))
        or _somebodys(directory, names, home)
    )


def _part_of_a_run(directory: Path, names: Listing) -> Foreign | None:
    parent, name = directory.parent, directory.name
    if MANIFEST in names and CheckpointName.parse(name) is not None:
        return Foreign("is one checkpoint of a run", _name_the_run(parent.parent))
    if any(CheckpointName.parse(each) and inside is not None for each, inside in names.items()):
        return Foreign("is the directory of checkpoints of a run", _name_the_run(parent))
    if any(is_journal(each) for each in names):
        return Foreign("is the journal of a run", _name_the_run(parent))
    return None


def _name_the_run(run: Path) -> str:
    return f"Name the run itself: {str(run)!r}"


def _runs(directory: Path, names: Listing) -> Foreign | None:
    runs = [
        name
        for name, inside in names.items()
        if inside is not None and {"checkpoints", "journal"} <= set(inside)
    ]
    if not runs:
        return None
    return Foreign(
        f"holds runs ({_some(runs)})",
        f"Name one of them, or a new one: {str(directory / 'another')!r}",
    )


def _training_state(directory: Path, names: Listing) -> Foreign | None:
    another = (
        "Name another directory for the run; it continues from this one if you pass "
        f"adopt={str(directory)!r}"
    )
    inner = [each for inside in names.values() for each in inside or ()]
    if any(each in _ORBAX for each in (*names, *inner)) or any(
        ".orbax-checkpoint-tmp" in each for each in names
    ):
        return Foreign("holds checkpoints of Orbax", another)
    if _BACKUP in names:
        weights = next((each for each in names if each.endswith(".weights.h5")), None)
        return Foreign(
            "holds a backup of keras.callbacks.BackupAndRestore",
            another + (f". {_load(directory / weights)}" if weights else ""),
        )
    if _TUNER in names and any(re.fullmatch(r"trial_.+|tuner.*\.json", each) for each in names):
        each_trial = str(directory.parent / "runs" / "{trial}")
        return Foreign(
            "is a project of Keras Tuner",
            f"Name a directory outside of it, with one run for each trial: {each_trial!r}",
        )
    if bundle := _bundle(names):
        manager = " (tf.train.CheckpointManager)" if STATE_FILE in names else ""
        return Foreign(
            f"holds checkpoints of TensorFlow{manager}: {bundle}.index",
            f"{another}. {_load(directory / bundle)}",
        )
    for name, inside in names.items():
        if inside is not None and STATE_FILE in inside and name in ("chief", "worker"):
            return Foreign("holds a backup of BackupAndRestore", another)
        if _WEIGHTS.fullmatch(name) and inside is None:
            readable = name.endswith((".keras", ".h5", ".hdf5"))
            return Foreign(
                f"holds saved models or weights ({name})",
                another + (f". {_load(directory / name)}" if readable else ""),
            )
        if name == "saved_model.pb" and inside is None:
            return Foreign("is a SavedModel", f"{another}. {_load(directory)}")
    for name, inside in names.items():
        if bundle := _bundle(inside or ()):
            return Foreign(
                f"holds checkpoints of TensorFlow: {name}/{bundle}.index",
                f"{another}. {_load(directory / name / bundle)}",
            )
    if STATE_FILE in names:
        return Foreign("holds checkpoints that another program wrote", another)
    return None


def _bundle(names: Collection[str]) -> str | None:
    """Return the prefix of a checkpoint that TensorFlow has written, if there is one."""
    prefixes = (name.removesuffix(".index") for name in names if name.endswith(".index"))
    return next(
        (
            prefix
            for prefix in prefixes
            if any(each.startswith(f"{prefix}.data-") for each in names)
        ),
        None,
    )


def _load(path: Path) -> str:
    return f"ckptkit.load_weights(model, {str(path)!r}) takes its weights over"


def _somebodys(directory: Path, names: Listing, home: Path | None) -> Foreign | None:
    inside = f"Name a directory in it: {str(directory / 'run')!r}"
    if directory in (home, Path(directory.anchor)):
        return Foreign("is a home or root directory", inside)
    if ".git" in names:
        return Foreign("is a repository of git", inside)
    others = [name for name in sorted(names) if not _may_be_there(name, names[name])]
    return Foreign(f"already holds other files ({_some(others)})", inside) if others else None


def _may_be_there(name: str, inside: Sequence[str] | None) -> bool:
    """Return whether a file or directory may be in a run directory before training."""
    if name in OF_A_RUN or _HIDDEN.fullmatch(name):
        return True
    if inside is None:
        return _HARMLESS.fullmatch(name) is not None
    # TensorBoard's callback makes `train` and `validation` before training begins.
    return all(_HIDDEN.fullmatch(each) for each in inside)


def _some(names: Sequence[str]) -> str:
    return ", ".join(sorted(names)[:3]) + (", ..." if len(names) > 3 else "")


def listing(layout: RunLayout) -> dict[str, Sequence[str] | None]:
    """Return what is in a directory, as `recognise` takes it; at most 1,000 names of each.

    An unreadable subdirectory counts as empty.

    Raises:
        OSError: If the directory itself cannot be read.
    """
    names: dict[str, Sequence[str] | None] = {}
    with os.scandir(layout.root) as entries:
        for entry in islice(entries, _MOST_NAMES):
            names[entry.name] = _names_in(entry) if entry.is_dir() else None
    return names


def _names_in(entry: os.DirEntry[str]) -> list[str]:
    try:
        with os.scandir(entry.path) as entries:
            return [each.name for each in islice(entries, _MOST_NAMES)]
    except OSError:
        return []
