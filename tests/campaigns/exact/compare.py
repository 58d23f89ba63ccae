"""Runs the program uninterrupted and interrupted, and compares what both saw and ended with."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

PROGRAM = Path(__file__).with_name("program.py")


def events(directory: Path) -> list[list[Any]]:
    file = directory / "events.jsonl"
    return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []


def keyed(records: list[list[Any]]) -> dict[tuple[Any, ...], Any]:
    """What was seen, by which batch or epoch it belongs to; the same batch seen twice must be the
    same both times.
    """
    found: dict[tuple[Any, ...], Any] = {}
    for kind, *rest in records:
        key, value = (kind, *rest[:-1]), rest[-1]
        if kind == "epoch_begin":
            continue
        assert found.setdefault(key, value) == value, f"{key} was seen twice, with other values"
    return found


def codes(death: dict[str, Any]) -> set[int]:
    """The exit codes of an attempt that dies so; one that dies at a time of the clock may have
    ended before.
    """
    terminated = death.get("signal") == "SIGTERM"
    if "secs" in death:
        return {0, 75, -signal.SIGTERM} if terminated else {0, -signal.SIGKILL}
    return {75} if terminated else {-signal.SIGKILL}


class Comparison:
    """One program, with and without interruptions.

    Args:
        start: the fixture `tf_process`.
        directory: an empty one.
        program: the program.
        options: of the program.
    """

    def __init__(
        self,
        start: Callable[..., Any],
        directory: Path,
        program: Path = PROGRAM,
        **options: Any,
    ) -> None:
        self._start = start
        self._program = program
        self._options = options
        self.without = directory / "plain"
        self.directory = directory / "interrupted"
        self.run = directory / "run"

    def plain(self, **more: Any) -> dict[str, Any]:
        """What the program ends with when nobody interrupts it, without ckptkit."""
        return self.attempt(self.without, None, **more)

    def interrupted(
        self, deaths: list[dict[str, Any]], *, may_end: bool = False, **more: Any
    ) -> dict[str, Any]:
        """What it ends with when each of these attempts dies and a last one does not.

        Args:
            deaths: how the attempts die.
            may_end: whether one of them may come to the end of training before.
            **more: options of the program.
        """
        for number, death in enumerate(deaths):
            allowed = codes(death) | ({0} if may_end else set())
            self.attempt(self.directory, self.run, allowed, die=death, layers_before=number, **more)
        return self.attempt(self.directory, self.run, layers_before=3, place=len(deaths), **more)

    def attempt(
        self, directory: Path, run: Path | None, allowed: set[int] | None = None, **more: Any
    ) -> dict[str, Any]:
        """One process.

        Args:
            directory: where it writes.
            run: the run directory, or None for a plain `fit`.
            allowed: its exit codes; by default 0.
            **more: options of the program.
        """
        process = self.begin(directory, run, **more)
        received = process.wait()
        assert received in (allowed or {0}), (
            f"exit code {received}, expected {allowed or 0}\n{process.stderr}"
        )
        return json.loads((directory / "result.json").read_text()) if received == 0 else {}

    def begin(self, directory: Path, run: Path | None, **more: Any) -> Any:
        """Starts a process and does not wait for it."""
        directory.mkdir(exist_ok=True)
        return self._start(
            self._program,
            json.dumps({**self._options, **more, "run": str(run) if run else None}),
            cwd=directory,
        )

    def check(self, deaths: list[dict[str, Any]], **more: Any) -> None:
        """Asserts that both end alike, and that the other callbacks saw the same."""
        plain, resumed = self.plain(), self.interrupted(deaths, **more)
        self.compare(plain, resumed)

    def compare(self, plain: dict[str, Any], resumed: dict[str, Any]) -> None:
        """Asserts that two results are the same, and what was seen on the way."""
        seen_plain, seen = keyed(events(self.without)), keyed(events(self.directory))
        different = [key for key in seen_plain if seen.get(key) != seen_plain[key]]
        assert not different, (
            f"first seen otherwise: {different[0]}: {seen_plain[different[0]]} != "
            f"{seen.get(different[0])}"
        )
        assert seen.keys() == seen_plain.keys()
        assert resumed == plain
