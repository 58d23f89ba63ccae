"""Events of an attempt's start, training and end."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

from ckptkit.run.events.event import Event


@dataclass(frozen=True, kw_only=True, slots=True)
class AttemptStarted(Event):
    """A process opened the run to train.

    `process_started` is when that process began (seconds since the epoch). It is null if the
    process had opened a run before, or is interactive, such as a notebook.
    """

    event: ClassVar[str] = "attempt_started"
    host: str
    pid: int
    program: str
    versions: dict[str, str] = field(default_factory=dict)
    scheduler: dict[str, str] = field(default_factory=dict)
    process_started: float | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class AttemptEnded(Event):
    """The process closed the run.

    `outcome` is finished, stopped, preempted or failed; `spent` is as in `progressed`.
    """

    event: ClassVar[str] = "attempt_ended"
    outcome: str
    step: int
    spent: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, slots=True)
class Restored(Event):
    """The state of a checkpoint was assigned."""

    event: ClassVar[str] = "restored"
    checkpoint: str
    step: int
    epoch: int
    batch: int
    secs: float


@dataclass(frozen=True, kw_only=True, slots=True)
class WarmStarted(Event):
    """A new run began with saved weights (`init_from`): so many of them, for the model `name`.

    `left_out` names its weights that patterns left out. `averages` and `optimizer` say whether the
    averages of the weights and the state of the optimizer were taken.
    """

    event: ClassVar[str] = "warm_started"
    name: str
    source: str
    weights: int
    left_out: list[str] = field(default_factory=list)
    averages: bool = False
    optimizer: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Adopted(Event):
    """A new run began with the state of another system (`adopt`), at a step and an epoch.

    `matched` counts the variables that were set, by role, and `missing` names those that were not.
    """

    event: ClassVar[str] = "adopted"
    system: str
    source: str
    step: int
    epoch: int | None
    matched: dict[str, int] = field(default_factory=dict)
    missing: list[str] = field(default_factory=list)


@dataclass(frozen=True, kw_only=True, slots=True)
class Inexact(Event):
    """The run cannot resume bit for bit after an interruption; `reason` says why."""

    event: ClassVar[str] = "inexact"
    reason: str


@dataclass(frozen=True, kw_only=True, slots=True)
class HyperparameterChanged(Event):
    """The code configures a different value of a hyperparameter than the run had.

    `settled` says which value counts: `code` or `checkpoint`.
    """

    event: ClassVar[str] = "hyperparameter_changed"
    name: str
    then: str
    now: str
    settled: str


@dataclass(frozen=True, kw_only=True, slots=True)
class LogsRepaired(Event):
    """TensorBoard's files under `directory` were prepared to continue after `step`.

    `points` is the number of removed points, and `files` the number of changed files. `left` names
    the files that could not be changed, and why.
    """

    event: ClassVar[str] = "logs_repaired"
    directory: str
    step: int
    files: int
    points: int
    left: list[str] = field(default_factory=list)
    secs: float = 0.0


@dataclass(frozen=True, kw_only=True, slots=True)
class CsvRow(Event):
    """A `CSVLogger` is about to write `text` to `file`, which has `after` bytes.

    A resume removes only rows that were recorded so, because several runs may share a file.
    """

    event: ClassVar[str] = "csv_row"
    file: str
    after: int
    text: str


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainingStarted(Event):
    """The first training step of this attempt is about to run."""

    event: ClassVar[str] = "training_started"
    step: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Progressed(Event):
    """Training has reached `step`.

    Written about once a minute while steps are made. `spent` is how many seconds the training
    thread has spent on each kind of work since `attempt_started`.
    """

    event: ClassVar[str] = "progressed"
    step: int
    spent: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, slots=True)
class Failed(Event):
    """Training ended with an exception; `restart` is false if a restart cannot help."""

    event: ClassVar[str] = "failed"
    error: str
    message: str
    step: int
    restart: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class Finished(Event):
    """Training reached its end.

    `stopped_by` is the callback that ended it before its last epoch, or empty.
    """

    event: ClassVar[str] = "finished"
    step: int
    epoch: int
    stopped_by: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Exported(Event):
    """A SavedModel of the state at `step` was published.

    It took `secs` seconds, of which the check took `check_secs`. `proof` is the result of the check
    in words.
    """

    event: ClassVar[str] = "exported"
    path: str
    step: int
    secs: float
    check_secs: float = 0.0
    proof: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class ExportFailed(Event):
    """A SavedModel could not be published; training and checkpoints are not affected."""

    event: ClassVar[str] = "export_failed"
    error: str
    message: str
