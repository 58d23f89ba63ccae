"""The JSON objects of a mirrored run: claims, fences, commits, and the identity of the run."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import msgspec

from ckptkit.errors import CorruptCheckpointError
from ckptkit.layout import CheckpointName
from ckptkit.mirror.store_layout import CommitName
from ckptkit.run.manifest import Manifest, decode, seal, unseal
from ckptkit.storage.json_bytes import json_bytes

STORE_FORMAT = 1


@dataclass(frozen=True, kw_only=True)
class StoredIdentity:
    """The content of `run.json`: which run the prefix belongs to.

    Args:
        run: the random id of the run, which its directory knows too.
        claim: in `mirror.json` of a directory, the last claim that its owner took on the store.
        format_version: the version of the format of all objects.
    """

    run: str
    claim: int = 0
    format_version: int = STORE_FORMAT


@dataclass(frozen=True, kw_only=True)
class StoreClaim:
    """The content of a claim: who has the run.

    Args:
        host, boot, pid: the process, as in the claims of a directory.
        since: when it took the run, in seconds since the epoch.
        lease_secs: after how many seconds without a sign of life it may be followed.
        nonce: random; tells this process whether a claim is its own.
        shares_from: the smallest claim with whose commits its commits may share files. Owners of
            smaller ones may still run: a later owner has followed one that was only silent.
    """

    host: str
    boot: str
    pid: int
    since: float
    lease_secs: float
    nonce: str
    shares_from: int = 1

    def __str__(self) -> str:
        since = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(self.since))
        return f"process {self.pid} on {self.host}, since {since}"


@dataclass(frozen=True, kw_only=True)
class StoreFence:
    """The content of a fence: what counts of the attempts before a claim.

    Args:
        seen: the commit objects that were on the store and counted.
        held: the checkpoints that were only in the directory of the new owner. It may upload them
            later, unless an earlier fence forbids that.
        nonce: random.
    """

    seen: tuple[str, ...]
    held: tuple[str, ...] = ()
    nonce: str = ""

    @property
    def checkpoints(self) -> list[CheckpointName]:
        """The checkpoints in `seen` and `held`."""
        seen = [CommitName.parse(f"{each}.json") for each in self.seen]
        held = [CheckpointName.parse(each) for each in self.held]
        return [each.checkpoint for each in seen if each] + [each for each in held if each]

    def allows(self, name: CommitName) -> bool:
        """Return whether a commit of an earlier attempt counts."""
        return str(name) in self.seen or str(name.checkpoint) in self.held


@dataclass(frozen=True, kw_only=True)
class StoredFile:
    """One file of a checkpoint on the store.

    Args:
        key: where its bytes are; checkpoints that share a file name the same key.
        size_bytes: its size.
        digest: its digest, as in the manifest.
    """

    key: str
    size_bytes: int
    digest: str


@dataclass(frozen=True, kw_only=True)
class CommitRecord:
    """The content of a commit object.

    Args:
        manifest: the bytes of `manifest.json`, as text.
        files: every other file, by name.
        nonce: random.
        format_version: the version of its format.
    """

    manifest: str
    files: dict[str, StoredFile]
    nonce: str
    format_version: int = STORE_FORMAT

    def decoded(self, name: CommitName) -> Manifest:
        """Return the manifest.

        Raises:
            CorruptCheckpointError: If it is damaged, or belongs to another checkpoint.
        """
        manifest = decode(self.manifest.encode(), Path(name.key()))
        named = {each.name: (each.size_bytes, each.digest) for each in manifest.files}
        stored = {name: (each.size_bytes, each.digest) for name, each in self.files.items()}
        if manifest.name != name.checkpoint or named != stored:
            raise CorruptCheckpointError(
                f"{name.key()} on the object store does not fit the manifest in it.", "manifest"
            )
        return manifest


@dataclass(frozen=True)
class Commit:
    """A commit object that was read.

    Args:
        name: its name.
        record: its content.
        manifest: the manifest in it.
    """

    name: CommitName
    record: CommitRecord
    manifest: Manifest = field(compare=False)

    @property
    def keys(self) -> frozenset[str]:
        """The keys of its files."""
        return frozenset(each.key for each in self.record.files.values())


T = TypeVar("T")


def encode_record(record: object) -> bytes:
    """Return the bytes of a record, with a digest of itself as in `manifest.json`."""
    return seal(json_bytes(record))


def decode_record(data: bytes, kind: type[T], key: str) -> T:
    """Return a record.

    Raises:
        CorruptCheckpointError: If it is damaged, or not a record of this kind.
    """
    problem: object = "its digest differs"
    if unseal(data):
        try:
            record = msgspec.json.decode(data, type=kind)
        except (msgspec.DecodeError, ValueError, RecursionError) as error:
            problem = error
        else:
            version = getattr(record, "format_version", STORE_FORMAT)
            if version <= STORE_FORMAT:
                return record
            problem = f"its format version is {version}; install a newer ckptkit"
    raise CorruptCheckpointError(
        f"The object {key} cannot be read: {problem}.", "manifest", key.rpartition("/")[2]
    )


def read_commit(data: bytes, name: CommitName) -> Commit:
    """Return a commit object from its bytes.

    Raises:
        CorruptCheckpointError: If it is damaged.
    """
    record = decode_record(data, CommitRecord, name.key())
    return Commit(name, record, record.decoded(name))
