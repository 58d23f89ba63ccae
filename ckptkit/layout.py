"""Names and paths inside a run directory. Only `expanded` reads the disk."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

from ckptkit.errors import ConfigError

MANIFEST = "manifest.json"
STATE_FILE = "checkpoint"
SEED_FILE = "seed.json"
ADOPTION_FILE = "adopt.json"
MAX_ATTEMPT = 10**9 - 1
TRIAL = "{trial}"
"""The placeholder in the directory of a `CheckpointCallback` for the name of each training."""
MAX_STEP = 10**18 - 1
"""Larger steps have no name that a reader knows again."""

PREFIX = "ckpt"

# No leading zeros, so that each checkpoint has one name, and a parsed name gives the same path.
_CHECKPOINT = re.compile(r"ckpt-(0|[1-9][0-9]{0,17})-([1-9][0-9]{0,8})")
_WRITING = re.compile(r"\.writing-([0-9]{1,9})")
_REMOVING = re.compile(r"\.removing-.+")
_REPLACED = re.compile(r"\.replaced-(ckpt-[0-9]{1,18}-[0-9]{1,9})")
_ATTEMPT = re.compile(r"attempt-([0-9]{1,9})\.jsonl")
_CLAIM = re.compile(r"[0-9]{6,9}")
_FENCE = re.compile(r"\.fence-([0-9]{1,9})")
_LAUNCHER = re.compile(r"launcher-.+\.jsonl")
_ARCHITECTURE = re.compile(r"[0-9a-f]{32}\.json")
_LEAVING = ".leaving-"
_SEED_DRAFT = ".seed-"
_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")
_URL_AS_PATH = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:/")
"""A URL that `pathlib.Path` has been given, which drops the second slash. `C:/` is none."""

_BRACES = re.compile(r"(?<!\$)\{[A-Za-z_][\w.]*\}", re.ASCII)
_VARIABLE = re.compile(r"\$(?:[A-Za-z_]\w*|\{[A-Za-z_]\w*\})", re.ASCII)


@dataclass(frozen=True, order=True)
class CheckpointName:
    """The name of a checkpoint: its step and the attempt that wrote it; sorts oldest first.

    Args:
        step: the number of finished training batches.
        attempt: the number of the attempt that wrote it, from 1.
    """

    step: int
    attempt: int

    @classmethod
    def parse(cls, text: str) -> CheckpointName | None:
        """Return the checkpoint name in `text`, or None if it is not a checkpoint name."""
        match = _CHECKPOINT.fullmatch(text)
        return cls(int(match[1]), int(match[2])) if match else None

    @property
    def prefix(self) -> str:
        """The common beginning of TensorFlow's file names inside the directory."""
        return f"{PREFIX}-{self.step}"

    def __str__(self) -> str:
        return f"{PREFIX}-{self.step}-{self.attempt}"


@dataclass(frozen=True)
class RunLayout:
    """The paths of everything in a run directory.

    Args:
        root: the run directory.
    """

    root: Path

    @property
    def checkpoints(self) -> Path:
        return self.root / "checkpoints"

    @property
    def state_file(self) -> Path:
        return self.checkpoints / STATE_FILE

    @property
    def journal(self) -> Path:
        return self.root / "journal"

    @property
    def architecture(self) -> Path:
        return self.root / "architecture"

    @property
    def export(self) -> Path:
        return self.root / "export"

    @property
    def quarantine(self) -> Path:
        return self.root / "quarantine"

    @property
    def aside(self) -> Path:
        return self.root / "aside"

    @property
    def fresh(self) -> Path:
        return self.root / "fresh"

    @property
    def adoption(self) -> Path:
        return self.root / ADOPTION_FILE

    @property
    def seed(self) -> Path:
        return self.root / "seed"

    @property
    def lock(self) -> Path:
        return self.root / "lock"

    @property
    def control(self) -> Path:
        return self.root / "control"

    @property
    def request(self) -> Path:
        return self.control / "request.json"

    @property
    def mirror_record(self) -> Path:
        return self.root / "mirror.json"

    @property
    def log(self) -> Path:
        return self.root / "log" / "training.log"

    @property
    def pins(self) -> Path:
        return self.root / "pins"

    @property
    def tensorboard(self) -> Path:
        return self.root / "tensorboard"

    def checkpoint(self, name: CheckpointName) -> Path:
        return self.checkpoints / str(name)

    def writing(self, attempt: int) -> Path:
        return self.checkpoints / f".writing-{attempt}"

    def removing(self, name: CheckpointName) -> Path:
        return self.checkpoints / f".removing-{name}"

    def replaced(self, name: CheckpointName) -> Path:
        return self.checkpoints / f".replaced-{name}"

    def leaving(self, name: CheckpointName) -> Path:
        return self.checkpoints / f"{_LEAVING}{name}"

    def fence(self, attempt: int) -> Path:
        return self.checkpoints / f".fence-{attempt}"

    def seed_draft(self, unique: str) -> Path:
        return self.root / f"{_SEED_DRAFT}{unique}"

    def claim(self, number: int) -> Path:
        return self.lock / f"{number:06d}"

    def pin(self, name: CheckpointName) -> Path:
        return self.pins / f"{name}.json"

    def attempt_journal(self, attempt: int) -> Path:
        return self.journal / f"attempt-{attempt:06d}.jsonl"

    def launcher_journal(self, launcher: str) -> Path:
        return self.journal / f"launcher-{launcher}.jsonl"


def run_layout(directory: str | os.PathLike[str]) -> RunLayout:
    """Return the layout of the run in `directory`.

    Raises:
        ConfigError: If it is not a path, or is the URL of an object store: TensorFlow writes
            checkpoints to file systems.
    """
    text = os.fspath(directory) if isinstance(directory, str | os.PathLike) else None
    if not isinstance(text, str) or not text.strip() or "\0" in text:
        raise ConfigError(f"A run directory is a path. Received: {directory!r}.")
    path = expanded(text)
    if (url := url_of(directory)) is not None:
        raise ConfigError(
            f"A run directory is a path on a mounted file system. Received the URL {url!r}. "
            "Mount storage that outlives the machine (a persistent disk, NFS) and name a directory "
            "on it. Or name any directory, and give the URL of S3, Google Cloud Storage or Azure "
            "as the run's mirror: CheckpointCallback('runs/x', mirror='s3://bucket/runs/x'). "
            "Commands read directories only."
        )
    return RunLayout(path)


def url_of(directory: str | os.PathLike[str]) -> str | None:
    """Return the URL that was given as a directory, or None for a path."""
    text = os.path.expandvars(os.fspath(directory))
    as_path = not isinstance(directory, str) and _URL_AS_PATH.match(text)
    is_url = _URL.match(text) or (as_path and not os.path.lexists(text.partition("/")[0]))
    return text if is_url else None


def expanded_url(url: str) -> str:
    """Return a URL with `$VAR` replaced.

    Raises:
        ConfigError: If it names an environment variable that is not set.
    """
    text = os.path.expandvars(url)
    if unset := _VARIABLE.search(text):
        raise ConfigError(
            f"The URL {url} names the environment variable {unset[0]}, which is not set. Set it, "
            "or write the URL itself."
        )
    return text


def expanded(path: str | os.PathLike[str]) -> Path:
    """Return a path of the user, with `~` and `$VAR` replaced.

    As in a shell, a path that begins with `~` and names no user is unchanged. If a file or
    directory with the literal name exists, the path is also unchanged.

    Raises:
        ConfigError: If it names an environment variable that is not set, or one that is empty in
            the place of a directory: `$EMPTY/run` would be `/run`.
    """
    text = os.fspath(path)
    if "$" in text and not os.path.lexists(text):
        for part in text.split("/"):
            if part and not os.path.expandvars(part):
                raise ConfigError(
                    f"{text} names the environment variable {part}, which is empty. Set it, or "
                    "write the directory itself."
                )
        text = os.path.expandvars(text)
        if unset := _VARIABLE.search(text):
            raise ConfigError(
                f"{os.fspath(path)} names the environment variable {unset[0]}, which is not set. "
                "Set it, or write the directory itself."
            )
    return Path(os.path.expanduser(text))


def literal_braces(directory: str | os.PathLike[str]) -> str | None:
    """Return the first name in braces in a path, such as `{fold}` from an f-string without `f`.

    `{trial}` does not count.
    """
    return next(
        (each[0] for each in _BRACES.finditer(os.fspath(directory)) if each[0] != TRIAL), None
    )


def writing_attempt(name: str) -> int | None:
    """Return the attempt whose unfinished save has this directory name, or None."""
    match = _WRITING.fullmatch(name)
    return int(match[1]) if match else None


def is_removing(name: str) -> bool:
    """Return whether a directory name is that of a checkpoint that is being removed."""
    return _REMOVING.fullmatch(name) is not None


def is_leaving_mark(name: str) -> bool:
    """Return whether a file name is that of a mark for a checkpoint that is about to be removed."""
    return name.startswith(_LEAVING)


def is_seed_draft(name: str) -> bool:
    """Return whether a directory name is that of a seed that is being written."""
    return name.startswith(_SEED_DRAFT)


def replaced_name(name: str) -> CheckpointName | None:
    """Return the name of the checkpoint that a replaced directory had before, or None.

    A second save at the same step has replaced that checkpoint.
    """
    match = _REPLACED.fullmatch(name)
    return CheckpointName.parse(match[1]) if match else None


def fence_attempt(name: str) -> int | None:
    """Return the attempt whose fence has this file name, or None."""
    match = _FENCE.fullmatch(name)
    return int(match[1]) if match else None


def claim_number(name: str) -> int | None:
    """Return the number of the claim with this directory name, or None."""
    return int(name) if _CLAIM.fullmatch(name) else None


def is_architecture(name: str) -> bool:
    """Return whether a file name is that of an architecture file."""
    return _ARCHITECTURE.fullmatch(name) is not None


def is_journal(name: str) -> bool:
    """Return whether a file name is that of a journal of an attempt or a launcher."""
    return journal_attempt(name) is not None or _LAUNCHER.fullmatch(name) is not None


def journal_attempt(name: str) -> int | None:
    """Return the attempt whose journal has this file name, or None."""
    match = _ATTEMPT.fullmatch(name)
    return int(match[1]) if match else None
