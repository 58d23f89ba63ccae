"""The result of verifying one checkpoint, model or export, and how it is printed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from ckptkit.cli.console import print_line
from ckptkit.cli.plain_text import count, plain
from ckptkit.errors import CorruptCheckpointError
from ckptkit.log import size

_TENSORS_NAMED = 5


@dataclass(frozen=True, kw_only=True)
class VerifyResult:
    """The result of verifying one checkpoint, model or export.

    Args:
        name: its name for people.
        path: its path; for a TensorFlow checkpoint the prefix.
        step: its step, or None if it has none.
        attempt: the attempt that wrote it; None outside of a run.
        parts: what it consists of, in words.
        how: what was compared, in words.
        size_bytes: the size of its files, or None if it is damaged.
        read_bytes: how much was read and is right, or None if it is damaged.
        error: what is wrong with it, or None.
        tensors: the damaged tensors by name, each with the reason.
    """

    name: str
    path: str
    step: int | None = None
    attempt: int | None = None
    parts: str = ""
    how: str = ""
    size_bytes: int | None = None
    read_bytes: int | None = None
    error: CorruptCheckpointError | None = None
    tensors: Mapping[str, str] = field(default_factory=dict)

    def as_json(self) -> dict[str, object]:
        """Return the form of one entry in `ckptkit verify --json`; see docs/cli.md."""
        error = self.error
        return {
            "name": self.name,
            "path": self.path,
            "step": self.step,
            "attempt": self.attempt,
            "problem": None if error is None else str(error),
            "damage": None if error is None else error.damage,
            "file": error.file or None if error is not None else None,
            "size_bytes": self.size_bytes,
            "read_bytes": self.read_bytes,
            "damaged_tensors": list(self.tensors),
        }

    def show(self) -> None:
        """Print the result for people."""
        if self.error is not None:
            print_line(f"{plain(self.name)}: DAMAGED: {plain(self.error)}", style="red")
        else:
            print_line(
                f"{plain(self.name)}: good ({self.parts}, {size(self.size_bytes or 0)}: {self.how})"
            )


def show_results(results: Sequence[VerifyResult], what: str) -> None:
    """Print all results and their number.

    Args:
        results: the results, in the order to print.
        what: the noun for what was verified, in the singular.
    """
    for result in results:
        result.show()
    if not results:
        print_line(f"no {what}s")
    elif len(results) > 1:
        print_line(
            f"{count(len(results), what)}, "
            f"{sum(result.error is not None for result in results) or 'none'} damaged"
        )


def damaged_tensors_error(tensors: Mapping[str, str], total: int) -> CorruptCheckpointError:
    """Return the error for a checkpoint with damaged tensors."""
    named = "; ".join(
        f"{name} ({reason})" for name, reason in list(tensors.items())[:_TENSORS_NAMED]
    )
    more = f"; and {len(tensors) - _TENSORS_NAMED} more" if len(tensors) > _TENSORS_NAMED else ""
    return CorruptCheckpointError(
        f"{len(tensors)} of {count(total, 'tensor')} cannot be read: {named}{more}", "digest"
    )
