"""The state that a session saves: the user's objects, random states and data positions."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ckptkit.data.loop_data import LoopData
from ckptkit.policies.anchor_policies import AnchorPolicy
from ckptkit.restore.adapted_restore import AdaptedRestore
from ckptkit.restore.replica_numbers import replicas_of
from ckptkit.restore.saved_values import read_moved_settings
from ckptkit.run.checkpoint_catalog import Checkpoint
from ckptkit.tracking import hyperparameters
from ckptkit.tracking.attribute_state import AttributeState
from ckptkit.tracking.leaves import Leaf, PythonLeaf
from ckptkit.tracking.python_state import ProcessRandom
from ckptkit.tracking.tracker import Tracked, Tracker


class ProcessEntry:
    """The entry "process" of a run's state: random states, and attributes of Python objects.

    Args:
        random: the random states of the process.
        attributes: the attributes of Python objects that training changes.
    """

    def __init__(self, random: ProcessRandom, attributes: AttributeState) -> None:
        self._random, self._attributes = random, attributes

    def leaves(self, name: str) -> list[Leaf]:
        """Return the leaves; see `OwnLeaves`."""
        random = self._random
        return [
            PythonLeaf(
                f"{name}/state/0",
                name,
                random.get_state,
                random.set_state,
                returns_copies=True,
            ),
            self._attributes.leaf(name),
        ]


class TrackedState:
    """All objects that a checkpoint of this session contains.

    Args:
        state: the user's state, by name.
        inexact: called with a reason why the run cannot continue bit for bit.
        policy: see `LoopData`.
        check: called before the leaves are listed, or None; see `RunOptions.check_objects`.

    Attributes:
        data: the positions in the datasets of `manager.data`.
        random: the random states of the process.
        attributes: the attributes of Python objects that training changes.
        state: the user's state, together with `data` and `random`.
        tracker: finds the tensors of the state.
        adapted: restores the learned state of preprocessing layers.
    """

    def __init__(
        self,
        state: Mapping[str, Any],
        inexact: Callable[[str], None],
        policy: AnchorPolicy,
        check: Callable[[], None] | None = None,
    ) -> None:
        self.data = LoopData(inexact, policy)
        self.random = ProcessRandom()
        self.attributes = AttributeState(inexact, lambda: self.tracker.users_leaves)
        self.state = {
            **state,
            "loop": self.data,
            "process": ProcessEntry(self.random, self.attributes),
        }
        self.tracker = Tracker(self.state, check)
        self.adapted = AdaptedRestore()

    def note_constructed(self) -> None:
        """Remember the program's objects before training or a restore changes them."""
        users = self.tracker.users
        in_fit = "fit" in self.state
        self.attributes.note(
            {name: (name if in_fit else f"state[{name!r}]", value) for name, value in users.items()}
        )

    def now(self) -> Tracked:
        """Return the leaves to save now; they may change while training runs.

        Raises:
            ConfigError: If the `tf.train.Checkpoint` has other objects than the state.
        """
        return self.tracker.track_now()

    def moved_settings(self, checkpoint: Checkpoint) -> dict[str, dict[str, Any]]:
        """Return the settings of layers, optimizers and `compile` that training has changed.

        Args:
            checkpoint: the checkpoint to read.

        Raises:
            CorruptCheckpointError: If it cannot be read.
        """
        return read_moved_settings(checkpoint)

    @property
    def replicas(self) -> int:
        """The number of replicas of the state, under a strategy of `tf.distribute`."""
        return replicas_of(self.now().leaves)

    def saw_iterations(self, iterations: int) -> bool:
        """Return whether an optimizer is unchanged since an earlier session of this process."""
        return hyperparameters.remembers_iterations(self.state, iterations)
