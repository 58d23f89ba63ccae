"""`ckptkit prune RUN`: takes checkpoints away by a keep policy, and says why each stays or goes."""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce
from operator import or_

import click

from ckptkit.cli.confirm import confirm, dry_run_option, yes_option
from ckptkit.cli.console import json_option, print_json, print_line, print_table
from ckptkit.cli.held_run import owned
from ckptkit.cli.plain_text import count, plain
from ckptkit.cli.progress_line import progress
from ckptkit.cli.run_arguments import opened, run_argument
from ckptkit.errors import CheckpointError
from ckptkit.layout import RunLayout
from ckptkit.log import size
from ckptkit.ownership.run_lock import check_not_held
from ckptkit.policies import KeepBest, KeepEveryNSteps, KeepLatest, KeepPolicy, inferred_direction
from ckptkit.run.catalog import Checkpoint
from ckptkit.run.checkpoint_index import CheckpointIndex
from ckptkit.run.retention import Judged, remove, review
from ckptkit.run.stored_run import StoredRun


@click.command(
    "prune", short_help="Take checkpoints away by a keep policy, with a reason for each."
)
@run_argument
@click.option("--keep-latest", metavar="N", type=click.IntRange(min=1), help="Keep the newest N.")
@click.option(
    "--keep-best",
    metavar="METRIC[:min|max]",
    multiple=True,
    help="Keep the best by a metric; min or max may be left out for names that Keras knows. May "
    "be given more than once.",
)
@click.option(
    "--keep-every",
    metavar="N",
    type=click.IntRange(min=1),
    help="Keep the first at or after every multiple of N steps.",
)
@dry_run_option
@yes_option
@json_option
def command(
    run: str,
    keep_latest: int | None,
    keep_best: Sequence[str],
    keep_every: int | None,
    dry_run: bool,
    yes: bool,
    as_json: bool,
) -> None:
    """Take checkpoints of RUN away, and keep those that any of the --keep options names.

    Kept whatever they say: the newest that is whole (it is read in full first), the newest with
    finite metrics, pinned ones, and those that somebody is reading. Damaged ones are left where
    they are. A run that is training is locked (exit code 11).
    """
    found = opened(run)
    policy = _policy(found, keep_latest, keep_best, keep_every)
    if dry_run:
        judged = _review(found, policy)
        if as_json:
            print_json(_as_json(run, judged, [], dry_run=True))
        else:
            _show(judged)
            going = [each for each in judged if not each.stays]
        for each in going:
            _ = each.checkpoint.head  # read while it exists: its size is shown at the end
            print_line(
                f"\nwould take away {count(len(going), 'checkpoint')} ({size(_bytes(going))}); "
                "nothing was changed"
            )
        return
    check_not_held(found.layout)  # a run that is training is told of before anybody is asked
    judged = _review(found, policy)
    if not as_json:
        _show(judged)
    going = [each for each in judged if not each.stays]
    if going:
        confirm(
            f"Take away {count(len(going), 'checkpoint')} of {plain(run)} ({size(_bytes(going))})?",
            yes=yes,
        )
    removed = _remove(found.layout, policy, judged) if going else []
    if as_json:
        print_json(_as_json(run, judged, removed, dry_run=False))
    else:
        print_line(f"\ntook away {count(len(removed), 'checkpoint')} ({size(_bytes(removed))})")


def _review(run: StoredRun, policy: KeepPolicy) -> list[Judged]:
    """What becomes of each checkpoint; the newest is read in full for it."""
    newest = next(
        (each.head.size_bytes for each in reversed(run.checkpoints) if each.problem is None), 0
    )
    with progress("verifying the newest", newest) as advance:
        return review(CheckpointIndex(run.layout), policy, progress=advance)


def _policy(
    run: StoredRun, keep_latest: int | None, keep_best: Sequence[str], keep_every: int | None
) -> KeepPolicy:
    policies: list[KeepPolicy] = []
    if keep_latest is not None:
        policies.append(KeepLatest(keep_latest))
    policies += [_best(run, text) for text in keep_best]
    if keep_every is not None:
        policies.append(KeepEveryNSteps(keep_every))
    if not policies:
        raise click.UsageError(
            "A run does not say which of its checkpoints are still wanted. Expected at least one "
            "of --keep-latest, --keep-best "
            "and --keep-every; --dry-run shows what would stay."
        )
    return reduce(or_, policies)


def _best(run: StoredRun, text: str) -> KeepPolicy:
    metric, colon, mode = text.rpartition(":")
    if not colon:
        metric, mode = text, inferred_direction(text) or ""
        if not mode:
            raise click.UsageError(
                "--keep-best has to know whether smaller or larger is better. Received: "
                f"{plain(text)}. "
                f"Expected {plain(text)}:max or {plain(text)}:min."
            )
    if mode not in ("min", "max"):
        raise click.UsageError(
            f"--keep-best takes a metric, and min or max. Received: {plain(text)}. Expected for "
            "example val_accuracy:max."
        )
    known = sorted(
        {
            name
            for checkpoint in run.checkpoints
            if checkpoint.problem is None
            for name in checkpoint.metrics
        }
    )
    if metric not in known:
        raise click.UsageError(
            f"No checkpoint of this run has a metric {plain(metric)}. Metrics there: "
            f"{plain(', '.join(known) or 'none')}."
        )
    return KeepBest(metric, mode="max" if mode == "max" else "min")


def _remove(layout: RunLayout, policy: KeepPolicy, shown: Sequence[Judged]) -> list[Judged]:
    """Takes away what was shown, unless the run is another one by now."""
    with owned(layout) as mine:
        mine.tidy_up()
        judged = review(CheckpointIndex(layout), policy)
        if {each.checkpoint.name for each in judged if not each.stays} - {
            each.checkpoint.name for each in shown if not each.stays
        }:
            raise CheckpointError(
                f"{layout.root} has changed while it was looked at; nothing was taken away. Call "
                "ckptkit prune again."
            )
        going = [each for each in judged if not each.stays]
        for each in going:
            _ = each.checkpoint.head  # read while it exists: its size is shown at the end
        removed = [each for each in going if remove(mine.files, layout, mine.journal, each)]
        if removed:
            mine.tell_tensorflow()
        return removed


def _show(judged: Sequence[Judged]) -> None:
    if not judged:
        print_line("no checkpoints")
        return
    rows = [
        [
            str(each.checkpoint.step),
            str(each.checkpoint.attempt),
            _size(each.checkpoint),
            "stays" if each.stays else "goes",
            each.reason,
        ]
        for each in judged
    ]
    print_table(
        ["step", "attempt", "size", "", "because"],
        rows,
        right=["step", "attempt", "size"],
        red=[number for number, each in enumerate(judged) if not each.stays],
    )


def _as_json(
    run: str, judged: Sequence[Judged], removed: Sequence[Judged], *, dry_run: bool
) -> dict[str, object]:
    gone = {each.checkpoint.name for each in removed}
    checkpoints = [
        {
            "name": str(each.checkpoint.name),
            "step": each.checkpoint.step,
            "attempt": each.checkpoint.attempt,
            "stays": each.stays,
            "reason": each.reason,
            "removed": each.checkpoint.name in gone,
            "size_bytes": each.checkpoint.head.size_bytes
            if each.checkpoint.problem is None
            else None,
        }
        for each in judged
    ]
    return {"run": run, "dry_run": dry_run, "removed": len(removed), "checkpoints": checkpoints}


def _size(checkpoint: Checkpoint) -> str:
    return size(checkpoint.head.size_bytes) if checkpoint.problem is None else ""


def _bytes(judged: Sequence[Judged]) -> int:
    return sum(each.checkpoint.head.size_bytes for each in judged)
