"""Carries the small files of a run: journals, architectures, fresh starts, the seed, and pins."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from ckptkit.errors import ConfigError, StorageError
from ckptkit.layout import SEED_FILE, RunLayout
from ckptkit.log import logger
from ckptkit.mirror.objects import ObjectExistsError, ObjectMissingError, Objects
from ckptkit.mirror.store_layout import FILES, is_small_file
from ckptkit.run.seed_file import decode_seed, keep_seed, read_seed
from ckptkit.storage.files import FileSystem, names_in, storage_errors

_MOST_BYTES = 256 * 1024 * 1024
_DIRECTORIES = ("architecture", "fresh", "journal", "pins", "seed")

_SEED = f"seed/{SEED_FILE}"

Signature = tuple[int, int]
"""The size and modification time (ns) of a file."""


class SmallFiles:
    """Uploads the small files of a run that have changed.

    Args:
        objects: the store.
        layout: the run.
        files: how the disk is read.

    Attributes:
        attempt: the attempt of this process, whose journal no other process writes.
    """

    def __init__(self, objects: Objects, layout: RunLayout, files: FileSystem) -> None:
        self._objects, self._layout, self._files = objects, layout, files
        self._sent: dict[str, Signature] = {}
        self._stored: dict[str, int] = {}
        self.attempt = 0

    def check_seed(self) -> None:
        """Check that the directory and the store have the same seed, or one of them has none.

        Raises:
            ConfigError: If `ckptkit.seeded` has drawn another seed in this directory.
            CorruptCheckpointError: If a seed is damaged.
            StorageError: If the store does not answer, or the disk refuses.
        """
        if (here := read_seed(self._layout, self._files)) is None:
            return
        there = stored_seed(self._objects)
        if there is not None and there != here:
            raise ConfigError(
                f"The run on the object store has the seed {there}, and ckptkit.seeded has drawn "
                f"{here} in {self._layout.root}. So this program has split and shuffled its data "
                "differently. Nothing was changed on the object store. Remove "
                f"{self._layout.seed}, and pass the mirror: ckptkit.seeded(directory, mirror=url)."
            )

    def upload_seed(self) -> None:
        """Upload the seed before the first checkpoint, so that none is there without it.

        Raises:
            ConfigError: If the store has another one.
            StorageError: If the store does not answer, or the disk refuses.
        """
        if (signature := self._found().get(_SEED)) and self._sent.get(_SEED) != signature:
            self._upload(_SEED, signature)
        self.check_seed()

    def upload(self, *, own_journal: bool = True) -> None:
        """Upload what has changed since the last time, and delete pins that were removed.

        Args:
            own_journal: whether the journal of this attempt is uploaded, too. It is sent whole, and
                grows with each save.

        The journal of this attempt and the pins are replaced. A journal of another attempt is
        replaced only by one that continues it. Every other file is created once. So neither a
        stopped process that wakes up nor a damaged directory harms what the store has.

        Raises:
            StorageError: If the store does not answer.
        """
        found = self._found()
        for path, signature in found.items():
            if path == self._own_journal and not own_journal:
                continue
            if self._sent.get(path) != signature:
                self._upload(path, signature)
        for path in [path for path in self._sent if path not in found]:
            if path.startswith("pins/"):
                self._objects.delete(FILES + path)
            del self._sent[path]

    def _upload(self, path: str, signature: Signature) -> None:
        with storage_errors("read", self._layout.root / path):
            data = (self._layout.root / path).read_bytes()
        if path.startswith("pins/") or path == self._own_journal:
            self._objects.put(FILES + path, data)
        elif not path.startswith("journal/"):
            with suppress(ObjectExistsError):
                self._objects.create(FILES + path, data)
        elif self._continues(path, data):
            self._objects.put(FILES + path, data)
        self._sent[path] = signature
        self._stored[path] = len(data)

    @property
    def _own_journal(self) -> str:
        return f"journal/{self._layout.attempt_journal(self.attempt).name}"

    def _continues(self, path: str, data: bytes) -> bool:
        """Return whether a journal of another attempt has more lines than the store has."""
        if path not in self._stored:
            return True
        if len(data) <= self._stored[path]:
            return False
        try:
            return data.startswith(self._objects.read(FILES + path))
        except ObjectMissingError:
            return True

    def _found(self) -> dict[str, Signature]:
        found = {}
        for path in _local_paths(self._layout, self._files):
            try:
                status = (self._layout.root / path).stat()
            except OSError:  # a pin that is being removed
                continue
            found[path] = (status.st_size, status.st_mtime_ns)
        return found

    def fetch(self) -> int:
        """Fetch the files that the directory does not have.

        Returns:
            How many were fetched.

        Raises:
            CorruptCheckpointError: If the seed on the store is damaged.
            StorageError: If the store does not answer, or the disk refuses.
        """
        count = 0
        on_store = self._objects.sizes(FILES)
        for key, size_bytes in on_store.items():
            path = key.removeprefix(FILES)
            target = self._layout.root / path
            if not is_small_file(path) or target.exists():
                continue
            if size_bytes > _MOST_BYTES:
                logger.warning("%s on the object store is too large to be fetched", key)
                continue
            self._fetch(path)
            count += 1
        self._stored = {key.removeprefix(FILES): size for key, size in on_store.items()}
        # What has the same size on both sides is the same: these files only grow, or never change.
        self._sent = {
            path: signature
            for path, signature in self._found().items()
            if self._stored.get(path) == signature[0]
        }
        return count

    def _fetch(self, path: str) -> None:
        data = self._objects.read(FILES + path)
        if path == _SEED:
            seed = decode_seed(data, FILES + path)
            keep_seed(self._files, self._layout, lambda: seed)
            return
        target = self._layout.root / path
        self._files.make_dir(target.parent)
        # A process that is killed here must not leave a part of the file.
        self._files.replace_content(target, data)
        self._files.sync_dir(target.parent)


def stored_seed(objects: Objects) -> int | None:
    """Return the seed of a run on the store, or None if it has none.

    Raises:
        CorruptCheckpointError: If it is damaged, or a newer ckptkit wrote it.
        StorageError: If the store does not answer.
    """
    try:
        return decode_seed(objects.read(FILES + _SEED), FILES + _SEED)
    except ObjectMissingError:
        return None


def _local_paths(layout: RunLayout, files: FileSystem) -> Iterable[str]:
    for directory in _DIRECTORIES:
        try:
            names = names_in(files, layout.root / directory)
        except StorageError:
            continue
        for name in names:
            path = f"{directory}/{name}"
            if is_small_file(path) and Path(layout.root / path).is_file():
                yield path
