"""Events of a launcher, which starts and supervises the training."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

from ckptkit.run.events.event import Event


@dataclass(frozen=True, kw_only=True, slots=True)
class LaunchStarted(Event):
    """A launcher is about to start the training for the `number`th time.

    `step` is the newest committed step. The line is durable before the start.
    """

    event: ClassVar[str] = "launch_started"
    launcher: str
    number: int
    host: str
    boot: str
    pid: int
    program: str
    step: int


@dataclass(frozen=True, kw_only=True, slots=True)
class LaunchEnded(Event):
    """A training that the launcher had started has ended because of `cause`.

    `step` is the newest committed step. `inferred` means that a later launcher wrote the line,
    because this launcher was lost too. `last_lines` is the end of a printed traceback. `trained`
    says whether the training had finished a step. `told` says whether a notice, a signal or a user
    had asked it to end. Its attempt `of_attempt` (0 if unknown) had reported the step `reached`
    last.
    """

    event: ClassVar[str] = "launch_ended"
    launcher: str
    number: int
    cause: str
    words: str
    exit_code: int | None
    signal: str
    step: int
    inferred: bool = False
    last_lines: list[str] = field(default_factory=list)
    trained: bool = True
    told: bool = False
    of_attempt: int = 0
    reached: int | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class LaunchDecided(Event):
    """What the launcher does next: `restart` after `wait_secs`, or `stop` with an exit code.

    `reason` says why.
    """

    event: ClassVar[str] = "launch_decided"
    action: str
    exit_code: int
    wait_secs: float
    reason: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Stalled(Event):
    """The training has made no progress for `secs` seconds; its stacks are in the log."""

    event: ClassVar[str] = "stalled"
    secs: float
    phase: str
    step: int
    ended: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class Swept(Event):
    """The launcher ended processes that the training had left behind."""

    event: ClassVar[str] = "swept"
    processes: list[str]
