"""`ckptkit prune RUN`: delete checkpoints by a keep policy, with a reason for each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import reduce
from operator import or_

import click

from ckptkit.cli.checkpoint_choice import run_argument
from ckptkit.cli.checkpoint_lookup import open_named_run
from ckptkit.cli.confirm import confirm, dry_run_option, yes_option
from ckptkit.cli.console import examples, json_option, print_json, print_line, print_table
from ckptkit.cli.owned_run import check_not_owned, own_run
from ckptkit.cli.plain_text import count, plain
from ckptkit.cli.progress_line import progress
from ckptkit.errors import CheckpointError
from ckptkit.layout import CheckpointName, RunLayout
from ckptkit.log import size
from ckptkit.policies import KeepBest, KeepEveryNSteps, KeepLatest, KeepPolicy, inferred_direction
from ckptkit.run.checkpoint_catalog import Checkpoint
from ckptkit.run.retention import Judged, files_of, freed_bytes, remove, review
from ckptkit.run.stored_run import StoredRun
from ckptkit.run.verification_cache import CheckpointIndex


@click.command(
    "prune",
    epilog=examples(
        "ckptkit prune runs/digits --keep-latest 2 --dry-run",
        "ckptkit prune runs/digits --keep-best val_accuracy --keep-latest 1 --yes",
    ),
)
@run_argument
@click.option("--keep-latest", metavar="N", type=click.IntRange(min=1), help="Keep the newest N.")
@click.option(
    "--keep-best",
    metavar="METRIC[:min|max]",
    multiple=True,
    help="Keep the best by a metric. The direction may be left out for names that Keras knows. May "
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
    """Delete checkpoints of RUN; keep those that any --keep option names.

    Some are kept in any case: the newest good one (it is read in full first), the newest with
    finite metrics, pinned ones, and those that a process is reading. Damaged ones are left in
    place. A run that is training is locked (exit code 11).
    """
    found = open_named_run(run)
    policy = _policy(found, keep_latest, keep_best, keep_every)
    if dry_run:
        judged = _review(found, policy)
        if as_json:
            print_json(_as_json(run, judged, _sizes(judged), [], dry_run=True))
        else:
            _show(judged)
            going = [each for each in judged if not each.stays]
            freed = size(freed_bytes(files_of(going).values()))
            print_line(
                f"\nwould delete {count(len(going), 'checkpoint')} ({freed}); nothing was changed"
            )
        return
    # Checked before the question, because the command would fail after the answer.
    check_not_owned(found.layout)
    judged = _review(found, policy)
    if not as_json:
        _show(judged)
    going = [each for each in judged if not each.stays]
    files = files_of(going)
    sizes = _sizes(judged)  # before the manifests are gone
    if going:
        freed = size(freed_bytes(files.values()))
        confirm(
            f"Delete {count(len(going), 'checkpoint')} of {plain(run)} ({freed})?",
            yes=yes,
        )
    removed = _remove(found.layout, policy, judged) if going else []
    if as_json:
        print_json(_as_json(run, judged, sizes, removed, dry_run=False))
    else:
        freed = size(freed_bytes([files[each.checkpoint.name] for each in removed]))
        print_line(f"\ndeleted {count(len(removed), 'checkpoint')} ({freed})")


def _review(run: StoredRun, policy: KeepPolicy) -> list[Judged]:
    """Decide what happens to each checkpoint; the newest one is read in full for it."""
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
            "Expected at least one of --keep-latest, --keep-best and --keep-every, which say what "
            "to keep. Received none of them. --dry-run shows what would stay."
        )
    return reduce(or_, policies)


def _best(run: StoredRun, text: str) -> KeepPolicy:
    metric, colon, mode = text.rpartition(":")
    if not colon:
        metric, mode = text, inferred_direction(text) or ""
        if not mode:
            raise click.UsageError(
                "--keep-best needs to know whether a smaller or a larger value is better. "
                f"Expected {plain(text)}:max or {plain(text)}:min. Received: {plain(text)}."
            )
    if mode not in ("min", "max"):
        raise click.UsageError(
            "Expected a metric and min or max after --keep-best, such as val_accuracy:max. "
            f"Received: {plain(text)}."
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
            f"No checkpoint of this run has a metric {plain(metric)}. Expected one of: "
            f"{plain(', '.join(known) or 'none was recorded')}."
        )
    return KeepBest(metric, mode="max" if mode == "max" else "min")


def _remove(layout: RunLayout, policy: KeepPolicy, shown: Sequence[Judged]) -> list[Judged]:
    """Delete the checkpoints that were shown, unless the run has changed since then."""
    with own_run(layout) as mine:
        mine.recover()
        # Decided again under the lock: only what the user has confirmed may be deleted.
        judged = review(CheckpointIndex(layout), policy)
        if {each.checkpoint.name for each in judged if not each.stays} - {
            each.checkpoint.name for each in shown if not each.stays
        }:
            raise CheckpointError(
                f"{layout.root} changed while the question was open. Nothing was deleted. Call "
                "ckptkit prune again."
            )
        going = [each for each in judged if not each.stays]
        # The manifest is read while it exists, because the size is printed at the end.
        for each in going:
            _ = each.checkpoint.head
        removed = [each for each in going if remove(mine.files, layout, mine.journal, each)]
        if removed:
            mine.update_state_file()
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


def _sizes(judged: Sequence[Judged]) -> dict[CheckpointName, int | None]:
    """Return the sizes of checkpoints in bytes; None for one that cannot be read."""
    return {
        each.checkpoint.name: each.checkpoint.head.size_bytes
        if each.checkpoint.problem is None
        else None
        for each in judged
    }


def _as_json(
    run: str,
    judged: Sequence[Judged],
    sizes: Mapping[CheckpointName, int | None],
    removed: Sequence[Judged],
    *,
    dry_run: bool,
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
            "size_bytes": sizes[each.checkpoint.name],
        }
        for each in judged
    ]
    return {"run": run, "dry_run": dry_run, "removed": len(removed), "checkpoints": checkpoints}


def _size(checkpoint: Checkpoint) -> str:
    return size(checkpoint.head.size_bytes) if checkpoint.problem is None else ""
