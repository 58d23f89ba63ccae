"""Stores the architecture of each model before the first checkpoint that refers to it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import keras
from msgspec import UNSET

from ckptkit.layout import RunLayout
from ckptkit.run import architecture_file
from ckptkit.run.journal import Journal, best_effort
from ckptkit.run.library_versions import versions
from ckptkit.run.manifest import StateEntry
from ckptkit.storage.files import FileSystem
from ckptkit.tracking.model_architecture import serialize_architecture


class ArchitectureSaver:
    """Stores the architecture of each model once, and again if its structure has changed.

    Only the writer's thread uses an object of this class, so it needs no lock.

    Args:
        state: what the run saves.
        files: how to change the disk.
        layout: the run.
        journal: the journal of this attempt.
    """

    def __init__(
        self, state: Mapping[str, Any], files: FileSystem, layout: RunLayout, journal: Journal
    ) -> None:
        self._models = {
            name: value for name, value in state.items() if isinstance(value, keras.Model)
        }
        self._files, self._layout, self._journal = files, layout, journal
        self._known: dict[str, tuple[StateEntry, str]] = {}

    def named(self, states: Sequence[StateEntry]) -> tuple[StateEntry, ...]:
        """Store new architectures, and add the names of their files to the models' entries.

        If an architecture cannot be stored, that is a warning, and the checkpoint is written
        without it.

        Args:
            states: the description of each entry of the state in a snapshot.
        """
        return tuple(
            replace(entry, architecture=self._name_of(entry) or UNSET)
            if entry.name in self._models
            else entry
            for entry in states
        )

    def _name_of(self, entry: StateEntry) -> str:
        known, name = self._known.get(entry.name, (None, ""))
        # The tracker returns the same object as long as the structure is unchanged.
        if known is not entry:
            name = ""
            with best_effort(self._journal, "store the model's architecture"):
                name = architecture_file.store(
                    self._files,
                    self._layout,
                    serialize_architecture(self._models[entry.name], versions()),
                )
                self._known[entry.name] = (entry, name)
        return name
