"""The commits on a store: reads them, adds one, and takes one away.

The order of the requests matters; `docs/format.md` gives the reason for each.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Collection, Iterable, Mapping
from contextlib import suppress
from pathlib import Path

from ckptkit.clock import Clock
from ckptkit.errors import CorruptCheckpointError, StorageError
from ckptkit.layout import MANIFEST, CheckpointName
from ckptkit.log import logger
from ckptkit.mirror import store_layout
from ckptkit.mirror.create_once import create_once
from ckptkit.mirror.objects import ObjectMissingError, Objects
from ckptkit.mirror.store_claim import StoreClaimHolder
from ckptkit.mirror.store_layout import COMMITS, DATA, CommitName, data_claim, fence_key
from ckptkit.mirror.store_records import (
    Commit,
    CommitRecord,
    StoredFile,
    StoreFence,
    decode_record,
    encode_record,
    read_commit,
)
from ckptkit.mirror.visible_commits import orphans, visible
from ckptkit.run.manifest import Manifest, decode
from ckptkit.storage.files import storage_errors


def read_fences(
    objects: Objects, known: Mapping[int, StoreFence] | None = None
) -> dict[int, StoreFence]:
    """Return all fences, by the number of their claim.

    Args:
        objects: the store.
        known: fences that were read before; they never change.

    Raises:
        CorruptCheckpointError: If one is damaged. What counts is then not known.
        StorageError: If the store does not answer.
    """
    found = dict(known or {})
    for key in objects.sizes(store_layout.FENCES):
        number = store_layout.number_of(key)
        if number is not None and number not in found:
            try:
                found[number] = decode_record(objects.read(key), StoreFence, key)
            except CorruptCheckpointError as error:
                raise CorruptCheckpointError(
                    f"{error} It tells which checkpoints of earlier attempts count. Put a copy of "
                    "it back. If there is none, name another prefix, and start from the directory "
                    "of the last machine, after deleting mirror.json in it.",
                    "manifest",
                ) from error
    return found


def commit_names(keys: Iterable[str], directory: str = COMMITS) -> list[CommitName]:
    """Return the names of the commit objects among some keys."""
    found = [CommitName.parse(key.removeprefix(directory)) for key in keys]
    return [name for name in found if name is not None]


def list_visible(objects: Objects) -> list[CommitName]:
    """Return the commits that count, oldest first.

    Raises:
        CorruptCheckpointError: If a fence is damaged.
        StorageError: If the store does not answer.
    """
    # The commits first: a fence that is created in between knows more than this listing.
    names = commit_names(objects.sizes(COMMITS))
    return visible(names, read_fences(objects))


def differs(directory: Path, commit: Commit) -> bool:
    """Return whether a checkpoint was saved again at its step after a commit."""
    try:
        return _manifest_text(directory) != commit.record.manifest.encode()
    except StorageError:
        return False


def _manifest_text(directory: Path) -> bytes:
    path = directory / MANIFEST
    with storage_errors("read", path):
        return path.read_bytes()


def _check_sent(path: Path, file: StoredFile, digest: str) -> None:
    """Check that the bytes that were sent are those that the checkpoint was committed with.

    Raises:
        CorruptCheckpointError: If they are not.
    """
    if digest != file.digest:
        raise CorruptCheckpointError(
            f"{path} is damaged: its digest is {digest}, and the manifest says {file.digest}.",
            "digest",
            path.name,
        )


class StoredCommits:
    """The commits that count, as their owner knows them.

    Args:
        objects: the store.
        claim: the claim of this process.
        clock: the source of time.
    """

    def __init__(self, objects: Objects, claim: StoreClaimHolder, clock: Clock) -> None:
        self._objects, self._claim, self._clock = objects, claim, clock
        self._known: dict[CheckpointName, Commit] = {}
        self._elsewhere: set[str] = set()  # the data of commits in `aside/` and `quarantine/`
        self._is_complete = True

    # -- at the start

    def load(self, names: Iterable[CommitName]) -> None:
        """Read commit objects; a damaged one is moved to `quarantine/`.

        Raises:
            StorageError: If the store does not answer.
        """
        for name in names:
            try:
                data = self._objects.read(name.key())
            except ObjectMissingError:
                # An owner that was stopped in the middle of a removal has finished it just now.
                continue
            try:
                self._known[name.checkpoint] = read_commit(data, name)
            except CorruptCheckpointError as error:
                # Which data it names is not known, so no data is deleted as an orphan any more.
                self._is_complete = False
                logger.warning("%s; it is moved to %s", error, store_layout.QUARANTINE)
                self._move(name, data, store_layout.QUARANTINE)

    def write_fence(self, held: Collection[CheckpointName]) -> None:
        """Create the fence of this claim: what it has seen is all that counts of earlier attempts.

        Args:
            held: the checkpoints that are in the directory of this process only.

        Raises:
            RunLockedError: If another process has taken the run.
            StorageError: If the store does not answer.
        """
        fence = StoreFence(
            seen=tuple(sorted(str(each.name) for each in self._known.values())),
            held=tuple(sorted(map(str, held))),
            nonce=uuid.uuid4().hex,
        )
        key = fence_key(self._claim.number)
        if not create_once(self._objects, key, encode_record(fence), self._clock):
            self._claim.check()
        self._claim.check()

    def sweep(self) -> int:
        """Delete what dead or late processes have left over.

        Returns:
            How many objects were deleted.

        Raises:
            RunLockedError: If another process has taken the run.
            StorageError: If the store does not answer.
        """
        keys = list(self._objects.sizes(""))
        needed = {key for each in self._known.values() for key in each.keys}
        for directory in (store_layout.ASIDE, store_layout.QUARANTINE):
            self._elsewhere |= self._named_in(keys, directory)
        needed |= self._elsewhere
        shown = {each.name for each in self._known.values()}
        commits, rest = orphans(keys, needed, shown, self._claim.number)
        if not self._is_complete:
            rest = [key for key in rest if store_layout.data_claim(key) is None]
        if commits or rest:
            self._claim.check()
        # A commit object goes before its data, so no reader finds one without data.
        for key in [*commits, *rest]:
            self._objects.delete(key)
        return len(commits) + len(rest)

    def _named_in(self, keys: Iterable[str], directory: str) -> set[str]:
        """Return the data keys that commit objects in `aside/` or `quarantine/` name."""
        found: set[str] = set()
        for name in commit_names((key for key in keys if key.startswith(directory)), directory):
            try:
                found |= read_commit(self._objects.read(name.key(directory)), name).keys
            except (CorruptCheckpointError, ObjectMissingError):
                self._is_complete = False
        return found

    # -- looking

    @property
    def commits(self) -> list[Commit]:
        """The commits, oldest first."""
        return sorted(self._known.values(), key=lambda each: each.name.order)

    def find(self, name: CheckpointName) -> Commit | None:
        """Return the commit of a checkpoint, or None."""
        return self._known.get(name)

    # -- adding

    def upload(
        self,
        directory: Path,
        on_bytes: Callable[[int], None] = lambda _: None,
    ) -> tuple[Commit, int]:
        """Upload a committed checkpoint, and commit it on the store.

        A file that an earlier commit has too, with the same digest and size, is not sent again.

        Args:
            directory: the checkpoint's directory.
            on_bytes: called with the number of bytes after each file.

        Returns:
            The commit, and how many bytes were sent.

        Raises:
            CorruptCheckpointError: If the files do not fit the manifest.
            RunLockedError: If another process has taken the run; the checkpoint does not count.
            StorageError: If the store does not answer, or a file cannot be read.
        """
        text = _manifest_text(directory)
        manifest = decode(text, directory / MANIFEST)
        name = self._next_name(manifest, text)
        if name is None:
            return self._known[manifest.name], 0
        self._claim.check()
        try:
            files, new = self._send_files(directory, manifest, on_bytes)
            if _manifest_text(directory) != text:
                self._delete_data(new)
                return self.upload(directory, on_bytes)
        except CorruptCheckpointError:
            # A second save at the same step may have taken the place of the directory meanwhile.
            if _manifest_text(directory) == text:
                raise
            return self.upload(directory, on_bytes)
        record = CommitRecord(manifest=text.decode(), files=files, nonce=uuid.uuid4().hex)
        commit = Commit(name, record, manifest)
        self._claim.check()
        # From here on the commit may exist even if an error is raised. If it does not, the next
        # owner sweeps the data.
        if not create_once(self._objects, name.key(), encode_record(record), self._clock):
            # An earlier try has created it, and its answer was lost.
            commit = read_commit(self._objects.read(name.key()), name)
            self._delete_data(new)
        # A claim that was made in between may not have seen the commit.
        self._claim.check()
        earlier = self._known.get(manifest.name)
        self._known[manifest.name] = commit
        if earlier is not None:
            self._objects.delete(earlier.name.key())
            self._delete_data(earlier.keys)
        if commit.record.manifest.encode() != text:
            # The earlier try was for a save that this one has replaced.
            return self.upload(directory, on_bytes)
        return commit, sum(files[each].size_bytes for each in files if files[each].key in new)

    def _next_name(self, manifest: Manifest, text: bytes) -> CommitName | None:
        """Return the name of the next commit object, or None if the store has the checkpoint."""
        earlier = self._known.get(manifest.name)
        if earlier is None:
            return CommitName(manifest.name)
        if earlier.record.manifest.encode() == text:
            return None
        return CommitName(manifest.name, earlier.name.revision + 1)

    def _send_files(
        self, directory: Path, manifest: Manifest, on_bytes: Callable[[int], None]
    ) -> tuple[dict[str, StoredFile], frozenset[str]]:
        """Upload the files that no commit has.

        Returns:
            All files of the checkpoint, and the keys of those that were sent.
        """
        have = {
            (each.digest, each.size_bytes): each
            for commit in self._known.values()
            for each in commit.record.files.values()
            # An owner that is only silent may be stopped before it deletes files.
            if (data_claim(each.key) or 0) >= self._claim.shares_from
        }
        nonce = uuid.uuid4().hex[:12]
        sent: dict[str, StoredFile] = {}
        files = {}
        for entry in manifest.files:
            stored = have.get((entry.digest, entry.size_bytes))
            if stored is None:
                key = store_layout.data_key(self._claim.number, nonce, entry.name)
                stored = StoredFile(key=key, size_bytes=entry.size_bytes, digest=entry.digest)
                sent[key] = stored
            files[entry.name] = stored
        try:
            for key, file in sent.items():
                path = directory / key.rpartition("/")[2]
                _check_sent(path, file, self._objects.put_file(key, path))
                on_bytes(file.size_bytes)
            arrived = self._objects.sizes(f"{DATA}{self._claim.number:06d}/{nonce}/")
            self._check_arrived(directory, sent, arrived)
        except BaseException:
            with suppress(StorageError):
                self._delete_data(sent)
            raise
        return files, frozenset(sent)

    def _check_arrived(
        self, directory: Path, sent: dict[str, StoredFile], arrived: dict[str, int]
    ) -> None:
        """Check that all files have arrived whole.

        Raises:
            CorruptCheckpointError: If a file of the directory has another size than its manifest
                says.
            ObjectMissingError: If an object is missing; a new owner may have swept it.
        """
        for key, file in sent.items():
            if key not in arrived:
                raise ObjectMissingError(key)
            if arrived[key] != file.size_bytes:
                raise CorruptCheckpointError(
                    f"{directory} has a file of {arrived[key]} bytes, and its manifest says "
                    f"{file.size_bytes}.",
                    "size",
                    key.rpartition("/")[2],
                )

    # -- taking away

    def remove(self, name: CheckpointName) -> None:
        """Delete a commit, and then the data that no other commit names.

        Raises:
            RunLockedError: If another process has taken the run.
            StorageError: If the store does not answer.
        """
        self._claim.check()
        commit = self._known[name]
        self._objects.delete(commit.name.key())
        del self._known[name]
        self._delete_data(commit.keys)

    def _delete_data(self, keys: Iterable[str]) -> None:
        needed = {key for each in self._known.values() for key in each.keys} | self._elsewhere
        for key in sorted(set(keys) - needed):
            self._objects.delete(key)

    def set_aside(self, name: CheckpointName, directory: str) -> None:
        """Move a commit object to `aside/` or `quarantine/`; its data stays.

        Raises:
            RunLockedError: If another process has taken the run.
            StorageError: If the store does not answer.
        """
        self._claim.check()
        commit = self._known[name]
        self._move(commit.name, encode_record(commit.record), directory)
        # Its data is named from there, and must not be deleted with another commit that shares it.
        self._elsewhere |= commit.keys
        del self._known[name]

    def _move(self, name: CommitName, data: bytes, directory: str) -> None:
        # First the copy, then the deletion: in between the commit is in both places.
        self._objects.put(name.key(directory), data)
        with suppress(ObjectMissingError):
            self._objects.delete(name.key())
