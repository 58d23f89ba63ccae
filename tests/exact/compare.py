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
    """What was seen, by which batch or epoch it belongs to; the same batch seen twice must be the same both times."""
    found: dict[tuple[Any, ...], Any] = {}
    for kind, *rest in records:
        key, value = (kind, *rest[:-1]), rest[-1]
        if kind == "epoch_begin":
            continue
        assert found.setdefault(key, value) == value, f"{key} was seen twice, with other values"
    return found


class Comparison:
    """One program, with and without interruptions.

    Args:
        start: the fixture `tf_process`.
        directory: an empty one.
        options: of the program.
    """

    def __init__(self, start: Callable[..., Any], directory: Path, **options: Any) -> None:
        self._start = start
        self._directory = directory
        self._options = options

    def plain(self, **more: Any) -> dict[str, Any]:
        """What the program ends with when nobody interrupts it, without ckptkit."""
        return self._attempt(self._directory / "plain", None, **more)

    def interrupted(self, deaths: list[dict[str, Any]], **more: Any) -> dict[str, Any]:
        """What it ends with when each of these attempts dies and a last one does not."""
        run = self._directory / "run"
        for number, death in enumerate(deaths):
            code = 75 if death.get("signal") == "SIGTERM" else -signal.SIGKILL
            self._attempt(self._directory / "interrupted", run, code, die=death, layers_before=number, **more)
        return self._attempt(self._directory / "interrupted", run, layers_before=3, place=len(deaths), **more)

    def _attempt(self, directory: Path, run: Path | None, code: int = 0, **more: Any) -> dict[str, Any]:
        directory.mkdir(exist_ok=True)
        options = {**self._options, **more, "run": str(run) if run else None}
        process = self._start(PROGRAM, json.dumps(options), cwd=directory)
        received = process.wait()
        assert received == code, f"exit code {received}, expected {code}\n{process.stderr}"
        return json.loads((directory / "result.json").read_text()) if code == 0 else {}

    def check(self, deaths: list[dict[str, Any]], **more: Any) -> None:
        """Asserts that both end alike, and that the other callbacks saw the same."""
        plain, resumed = self.plain(), self.interrupted(deaths, **more)
        seen_plain, seen = keyed(events(self._directory / "plain")), keyed(events(self._directory / "interrupted"))
        different = [key for key in seen_plain if seen.get(key) != seen_plain[key]]
        assert not different, f"first seen otherwise: {different[0]}: {seen_plain[different[0]]} != {seen.get(different[0])}"
        assert seen.keys() == seen_plain.keys()
        assert resumed == plain
