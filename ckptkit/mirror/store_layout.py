"""Names of the objects of a mirrored run. Keys are relative to the run's prefix."""

from __future__ import annotations

import re
from dataclasses import dataclass

from ckptkit.layout import SEED_FILE, CheckpointName, is_architecture, is_journal

RUN = "run.json"
CLAIMS = "claims/"
FENCES = "fences/"
DATA = "data/"
COMMITS = "checkpoints/"
ASIDE = "aside/"
QUARANTINE = "quarantine/"
PROBE = "probe/"
FILES = "files/"

_COMMIT = re.compile(r"(ckpt-[0-9]{1,18}-[0-9]{1,9})\.([1-9][0-9]{0,5})\.json")
_NUMBERED = re.compile(r"([0-9]{6,9})\.json")
_DATA = re.compile(r"data/([0-9]{6,9})/.+")
_FRESH = re.compile(r"[0-9a-f]{32}\.json")


@dataclass(frozen=True, order=True)
class CommitName:
    """The name of a commit object: the checkpoint, and how often its name was committed.

    Args:
        checkpoint: the name of the checkpoint.
        revision: 1, or more if a second save at the same step has replaced the first one. The
            largest revision counts.
    """

    checkpoint: CheckpointName
    revision: int = 1

    @classmethod
    def parse(cls, text: str) -> CommitName | None:
        """Return the name in `ckpt-600-2.1.json`, or None."""
        match = _COMMIT.fullmatch(text)
        name = CheckpointName.parse(match[1]) if match else None
        return cls(name, int(match[2])) if match and name else None

    @property
    def order(self) -> tuple[int, int, int]:
        """Sorts oldest first: by attempt, step and revision."""
        return self.checkpoint.attempt, self.checkpoint.step, self.revision

    def key(self, directory: str = COMMITS) -> str:
        """Return the key of the object in `checkpoints/`, `aside/` or `quarantine/`."""
        return f"{directory}{self}.json"

    def __str__(self) -> str:
        return f"{self.checkpoint}.{self.revision}"


def claim_key(number: int) -> str:
    """Return the key of a claim."""
    return f"{CLAIMS}{number:06d}.json"


def alive_key(number: int) -> str:
    """Return the key of a sign of life."""
    return f"{CLAIMS}{number:06d}.alive"


def fence_key(number: int) -> str:
    """Return the key of the fence of a claim."""
    return f"{FENCES}{number:06d}.json"


def data_key(number: int, nonce: str, file: str) -> str:
    """Return a key for a file of a checkpoint; the nonce makes it new."""
    return f"{DATA}{number:06d}/{nonce}/{file}"


def number_of(key: str) -> int | None:
    """Return the number of a claim or fence by its key, or None."""
    match = _NUMBERED.fullmatch(key.rpartition("/")[2])
    return int(match[1]) if match else None


def data_claim(key: str) -> int | None:
    """Return the claim that has written a data object, or None for other keys."""
    match = _DATA.fullmatch(key)
    return int(match[1]) if match else None


def is_of_a_run(key: str) -> bool:
    """Return whether a key is one that a mirror uses."""
    known = (CLAIMS, FENCES, DATA, COMMITS, ASIDE, QUARANTINE, PROBE, FILES)
    return key == RUN or key.startswith(known)


def is_small_file(path: str) -> bool:
    """Return whether a path inside the run directory is a file that travels as it is.

    Paths come from the store, so nothing else may be written into a run directory.
    """
    directory, _, name = path.partition("/")
    if "/" in name or "\0" in name:
        return False
    return {
        "journal": is_journal(name),
        "architecture": is_architecture(name),
        "fresh": _FRESH.fullmatch(name) is not None,
        "seed": name == SEED_FILE,
        "pins": CheckpointName.parse(name.removesuffix(".json")) is not None
        and name.endswith(".json"),
    }.get(directory, False)
