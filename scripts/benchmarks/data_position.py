"""What the position in data costs: at a save, on the disk, and at a resume.

    .venv/bin/python scripts/benchmarks/data_position.py [--parts saves disk resume stages]
    [--buffers 0x1 100000x1] [--ways fit loop] [--repeats 3] [--json FILE] [--parts anchors]
    [--clock cpu]

Pipelines of `range -> map -> shuffle -> batch -> prefetch` train a small model (3 MB with Adam), in
`fit` and in a loop. `100000x1` is a shuffle buffer of 100,000 rows of 1 kB. Everything takes turns,
so that a slow minute of the machine hits all, and the figures are medians; p99 is the slowest of a
few saves. `plain` is the same training without ckptkit, and `tf` saves the model and the iterator
with `tf.train.Checkpoint`.

- saves: how long training stops for a save, what a checkpoint takes, and how much longer a stretch
  of training takes for each save in it. `anchor` is the same stop if each save takes an anchor.
- disk: what 20 checkpoints take together, beside 20 times the model's state.
- resume: from opening the run to the first new batch, in the middle of epochs 1, 20 and 200. The
  epochs before are trained with few rows, and the resume meets all rows. `start` is the first batch
  of a new training, which fills the buffer too.
- stages: the same for pipelines of other stages: those of which past epochs need no batch, which
  have a goal, and others with their cost.
- anchors: how long training stops for anchors that are due by `AdaptiveAnchors`, beside its bound.

Nothing is asserted; what the figures should stay below is printed with them.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import data_training
from data_training import (
    BATCH,
    NO_DRAW,
    STAGES,
    End,
    Rows,
    fit,
    loop,
    make_model,
    rows_of,
)
from saves import machine, percentile

BUFFERS = ("0x1", "1000x1", "10000x1", "100000x1", "1000x50", "4000x50")
WAYS = {"fit": fit, "loop": loop}
PARTS = ("saves", "disk", "anchors", "resume", "stages")
STALL_GOAL_SECS = 0.010
RESUME_GOAL = 1.5
KEPT = 20


# -- saves


def saves_of(run: Path) -> list[Any]:
    """The events of the saves that training did not end with."""
    import ckptkit
    from ckptkit.run.events import Saved

    return [
        event
        for event in ckptkit.open_run(run).journal
        if isinstance(event, Saved) and not event.final
    ]


def measure_saves(way: str, rows: Rows, options: argparse.Namespace, base: Path) -> dict[str, Any]:
    import ckptkit

    train = WAYS[way]
    steps, saves = options.steps, options.saves
    every = steps // (saves + 1)
    stalls: dict[str, list[float]] = {"ckptkit": [], "tf": [], "anchor": []}
    secs: dict[str, list[float]] = {"plain": [], "ckptkit": [], "tf": []}
    sizes: dict[str, list[int]] = {"ckptkit": [], "tf": [], "anchor": []}
    tf_saves = 1 if rows.buffer_bytes > 5e7 else 2
    for _ in range(options.repeats):
        secs["plain"].append(train(rows.dataset(), steps))
        directory = Path(tempfile.mkdtemp(dir=base))
        kept: dict[str, Any] = {"save": ckptkit.EveryNSteps(every), "keep": ckptkit.KeepLatest(2)}
        secs["ckptkit"].append(train(rows.dataset(), steps, run=directory / "run", **kept))
        for event in saves_of(directory / "run"):
            stalls["ckptkit"].append(event.snapshot_secs)
            sizes["ckptkit"].append(event.size_bytes)
        found: list[float] = []
        taken = train(rows.dataset(), steps, plain=(directory / "tf", steps // tf_saves, found))
        secs["tf"].append(taken)
        stalls["tf"] += found
        sizes["tf"] += [bytes_in(directory / "tf") // max(len(found), 1)]
        train(
            rows.dataset(),
            every * 2,
            run=directory / "anchors",
            **kept,
            anchors=ckptkit.AnchorEveryNBatches(1),
        )
        for event in saves_of(directory / "anchors"):
            stalls["anchor"].append(event.snapshot_secs)
            sizes["anchor"].append(event.size_bytes)
        shutil.rmtree(directory)
    plain = statistics.median(secs["plain"])
    return {
        "step_secs": plain / steps,
        **{
            name: {
                "stall_p50_secs": statistics.median(stalls[name]),
                "stall_p99_secs": percentile(stalls[name], 0.99),
                "bytes": statistics.median(sizes[name]),
            }
            for name in stalls
        },
        "lost_secs": {
            "ckptkit": lost(secs, "ckptkit", saves),
            "tf": lost(secs, "tf", tf_saves),
        },
    }


def lost(secs: dict[str, list[float]], name: str, saves: int) -> float:
    """The median of what a round took longer, for each save."""
    return statistics.median(
        (one - plain) / saves for one, plain in zip(secs[name], secs["plain"], strict=True)
    )


def bytes_in(directory: Path) -> int:
    """What the files of a directory take; a file with several names counts once."""
    sizes = {}
    for path in directory.rglob("*"):
        status = path.lstat()
        if path.is_file():
            sizes[status.st_ino] = status.st_size
    return sum(sizes.values())


# -- disk


def measure_disk(options: argparse.Namespace, base: Path) -> dict[str, Any]:
    """Twenty checkpoints of a run with a large buffer, without an anchor and with a few."""
    import ckptkit

    rows = rows_of(options.disk_buffer)
    found: dict[str, Any] = {"buffer_bytes": rows.buffer_bytes}
    state = make_model(rows.features)
    size = sum(
        variable.value.numpy().nbytes
        for variable in (*state.variables, *state.optimizer.variables, *state.metrics_variables)
    )
    found["model_bytes"] = size * KEPT
    every = {"AdaptiveAnchors": ckptkit.AdaptiveAnchors(), "two": ckptkit.AnchorEveryNBatches(40)}
    for name, anchors in every.items():
        run = base / f"disk-{name}"
        loop(
            rows.dataset(),
            KEPT * 4,
            run=run,
            save=ckptkit.EveryNSteps(4),
            keep=ckptkit.KeepLatest(KEPT),
            anchors=anchors,
            wait=True,
        )
        checkpoints = ckptkit.open_run(run).checkpoints
        anchor_files = {
            (path := checkpoint.path / file.name).stat().st_ino: path.stat().st_size
            for checkpoint in checkpoints
            for file in checkpoint.manifest.files
            if any(entry.owns(file.name) for entry in checkpoint.manifest.anchors)
        }
        found[name] = {
            "checkpoints": len(checkpoints),
            "bytes": bytes_in(run / "checkpoints"),
            "anchors": len(anchor_files) // 2,
            "anchor_bytes": sum(anchor_files.values()),
        }
        shutil.rmtree(run)
    return found


# -- anchors


def measure_anchors(
    way: str, rows: Rows, options: argparse.Namespace, base: Path
) -> dict[str, Any]:
    """How long training stops for anchors that are due, as shares of the training before each."""
    import ckptkit

    due: dict[int, float] = {}

    class Noting(ckptkit.AdaptiveAnchors):
        """Notes the training time before each anchor; a resume may draw for no time."""

        drawn = 0

        def form(self, costs: Any) -> Any:
            form = super().form(costs)
            if form == "anchor":
                Noting.drawn += costs.batches
                due[Noting.drawn] = costs.secs
                if len(due) == options.anchors:
                    Enough.after = time.perf_counter()
            return form

    class Enough(ckptkit.EveryNSteps):
        """Ends the training after some anchors, or after some time."""

        after = time.perf_counter() + options.anchor_secs

        def due(self, moment: Any, last: Any) -> str | None:
            if time.perf_counter() > Enough.after + 1:
                raise End
            return super().due(moment, last)

    run = base / "anchors"
    with suppress(End):
        WAYS[way](
            rows.dataset().repeat(),
            10**9,
            run=run,
            save=Enough(4),
            keep=ckptkit.KeepLatest(2),
            anchors=Noting(redraw_secs=0, share=options.share),
            features=rows.features,
            end=True,
            wait=True,
        )
    stalls = {event.step: event.snapshot_secs for event in saves_of(run)}
    shutil.rmtree(run)
    found = [(stalls[step], secs) for step, secs in due.items() if step in stalls]
    return {
        "anchors": len(found),
        "stall_p50_secs": statistics.median(stall for stall, _ in found) if found else 0.0,
        "stall_p99_secs": percentile([stall for stall, _ in found], 0.99) if found else 0.0,
        "share_p99": percentile([stall / secs for stall, secs in found], 0.99) if found else 0.0,
        "bound": options.share,
    }


def show_anchors(found: dict[str, dict[str, Any]]) -> None:
    print(
        "\nanchors that are due by AdaptiveAnchors\n\n| buffer | way | anchors | stall p50, ms | "
        "p99, ms | p99 of the share of training | the bound |\n|---|---|---|---|---|---|---|"
    )
    for name, each in found.items():
        if not each["anchors"]:
            print(f"| {' | '.join(name.split())} | 0 | | | | none was due |")
            continue
        p50, p99 = (each[f"stall_{name}_secs"] * 1e3 for name in ("p50", "p99"))
        share = each["share_p99"]
        print(
            f"| {' | '.join(name.split())} | {each['anchors']} | {p50:.0f} | {p99:.0f} | "
            f"{share * 100:.2f} % | {goal(share, each['bound'], '%', 100)} |"
        )


# -- resume


def measure_resume(
    way: str,
    make: Callable[[int], Any],
    features: int,
    rows: int,
    options: argparse.Namespace,
    base: Path,
) -> dict[str, Any]:
    """The time to the first new batch, by epoch.

    Args:
        way: `fit` or `loop`.
        make: returns the pipeline over a number of rows.
        features: the numbers in a row.
        rows: the rows that the resume meets.
    """
    import keras

    import ckptkit
    from ckptkit.policies.save_policies import SavePolicy

    def seeded(rows: int) -> Any:
        keras.utils.set_random_seed(1)  # the seed of a shuffle depends on it too
        return make(rows)

    train, batches = WAYS[way], options.batches
    half = batches // 2

    class InTheMiddle(SavePolicy):
        def due(self, moment: Any, last: Any) -> str | None:
            at = moment.position
            return "wanted" if at.batch == half and at.epoch + 1 in options.epochs else None

        def insists(self, moment: Any, last: Any) -> bool:
            return True

    last = max(options.epochs)
    kept: dict[str, Any] = {"save": InTheMiddle(), "keep": ckptkit.KeepLatest(100), "exact": "off"}
    first = base / "first"
    with suppress(End):
        train(
            seeded(batches * BATCH),
            (last - 1) * batches + half + 2,
            run=first,
            epochs=last,
            features=features,
            end=True,
            wait=True,
            **kept,
        )
    checkpoints = list(ckptkit.open_run(first).checkpoints)
    found: dict[str, list[float]] = {str(epoch): [] for epoch in options.epochs}
    found |= {"start": [], "tf": []}
    for _ in range(options.repeats):
        for epoch in options.epochs:
            run = base / f"resumed-{epoch}"
            shutil.copytree(first, run)
            for checkpoint in checkpoints:
                if checkpoint.manifest.epoch + 1 > epoch:
                    shutil.rmtree(run / "checkpoints" / str(checkpoint.name))
            for claim in (run / "lock").glob("*"):
                shutil.rmtree(claim)
            found[str(epoch)].append(
                train(seeded(rows), 1, run=run, epochs=last, features=features, first=True, **kept)
            )
            shutil.rmtree(run)
        found["start"].append(train(seeded(rows), 1, epochs=last, features=features, first=True))
        if way == "loop":
            found["tf"].append(restored_by_tensorflow(seeded(rows), features, half, base))
    shutil.rmtree(first)
    return {name: statistics.median(secs) for name, secs in found.items() if secs}


def restored_by_tensorflow(dataset: Any, features: int, batches: int, base: Path) -> float:
    """Restores a model and an iterator, and reads a batch."""
    import tensorflow as tf

    model = make_model(features)
    iterator: Iterator[Any] = iter(dataset)
    for _ in range(batches):
        next(iterator)
    prefix = tf.train.Checkpoint(model=model, iterator=iterator).write(str(base / "plain"))
    del iterator
    began = data_training.clock()
    iterator = iter(dataset)
    tf.train.Checkpoint(model=model, iterator=iterator).read(prefix).expect_partial()
    next(iterator)
    secs = data_training.clock() - began
    for path in base.glob("plain*"):
        path.unlink()
    return secs


# -- showing


def show_saves(found: dict[str, dict[str, Any]]) -> None:
    print(
        "\nsaves\n\n| buffer | way | step, ms | ckptkit: stall p50, ms | p99 | MB | lost, ms | "
        "tf: stall p50, ms | p99 | MB | lost, ms | an anchor: stall, ms | MB |\n"
        "|---|---|---|---|---|---|---|---|---|---|---|---|---|"
    )
    for name, each in found.items():
        cells = [f"{each['step_secs'] * 1e3:.1f}"]
        for who in ("ckptkit", "tf"):
            cells += [
                f"{each[who]['stall_p50_secs'] * 1e3:.1f}",
                f"{each[who]['stall_p99_secs'] * 1e3:.1f}",
                f"{each[who]['bytes'] / 1e6:.1f}",
                f"{each['lost_secs'][who] * 1e3:.0f}",
            ]
        anchor = each["anchor"]
        cells += [f"{anchor['stall_p50_secs'] * 1e3:.0f}", f"{anchor['bytes'] / 1e6:.1f}"]
        print(f"| {' | '.join(name.split())} | {' | '.join(cells)} |")
    worst = max(each["ckptkit"]["stall_p50_secs"] for each in found.values())
    print(f"\nlargest stall p50: {worst * 1e3:.1f} ms, {goal(worst, STALL_GOAL_SECS, 'ms', 1e3)}")


def show_disk(found: dict[str, Any]) -> None:
    print(f"\n{KEPT} checkpoints, with {found['buffer_bytes'] / 1e6:.0f} MB in the buffer\n")
    for name in ("AdaptiveAnchors", "two"):
        each = found[name]
        rest = each["bytes"] - each["anchor_bytes"]
        print(
            f"{name}: {each['checkpoints']} checkpoints take {each['bytes'] / 1e6:.1f} MB, of that "
            f"{each['anchors']} anchors {each['anchor_bytes'] / 1e6:.1f} MB; the rest is "
            f"{rest / found['model_bytes']:.3f} times the model's state, "
            f"{goal(rest / found['model_bytes'], 1.05, 'times')}"
        )


def show_resume(
    title: str, found: dict[str, dict[str, float]], epochs: list[int], has_goal: bool = True
) -> None:
    if not found:
        return
    numbers = [str(epoch) for epoch in epochs]
    print(
        f"\n{title}: seconds to the first new batch\n\n| pipeline | way | start | "
        f"{' | '.join(f'epoch {number}' for number in numbers)} | last to first | "
        f"an epoch more, ms | tf |\n|---|---|---|{'---|' * len(numbers)}---|---|---|"
    )
    for name, each in found.items():
        what, _, way = name.rpartition(" ")
        ratio = each[numbers[-1]] / each[numbers[0]]
        secs = [f"{each[number]:.2f}" for number in numbers]
        tf = f"{each['tf']:.2f}" if "tf" in each else "-"
        more = (each[numbers[-1]] - each[numbers[0]]) / max(epochs[-1] - epochs[0], 1)
        aim = f", {goal(ratio, RESUME_GOAL, 'times')}" if has_goal else ""
        print(
            f"| {what} | {way} | {each['start']:.2f} | {' | '.join(secs)} | {ratio:.2f}{aim} | "
            f"{more * 1e3:.1f} | {tf} |"
        )


def goal(value: float, most: float, unit: str, factor: float = 1) -> str:
    return f"{'within' if value <= most else 'NOT within'} {most * factor:g} {unit}"


def every_buffer(
    measure: Callable[[str, Rows, argparse.Namespace, Path], dict[str, Any]],
    options: argparse.Namespace,
    base: Path,
) -> dict[str, dict[str, Any]]:
    """What a function measures, by buffer and way."""
    return {
        f"{name} {way}": measure(way, rows_of(name), options, base)
        for name in options.buffers
        for way in options.ways
    }


def part_resume(options: argparse.Namespace, base: Path) -> dict[str, Any]:
    def resume(way: str, rows: Rows, options: argparse.Namespace, base: Path) -> dict[str, Any]:
        make = partial(rows.dataset, batches=options.batches)
        return measure_resume(way, make, rows.features, rows.most, options, base)

    found = every_buffer(resume, options, base)
    show_resume("resume", found, options.epochs)
    return found


def part_stages(options: argparse.Namespace, base: Path) -> dict[str, Any]:
    found = {
        f"{name} {way}": measure_resume(
            way, STAGES[name], 256, options.batches * BATCH, options, base
        )
        for name in options.stages
        for way in options.ways
    }
    without = {name: each for name, each in found.items() if name.rpartition(" ")[0] in NO_DRAW}
    rest = {name: each for name, each in found.items() if name not in without}
    show_resume("past epochs need no batch", without, options.epochs)
    show_resume("other pipelines", rest, options.epochs, has_goal=False)
    return found


def measure(options: argparse.Namespace, base: Path) -> dict[str, Any]:
    results: dict[str, Any] = {"load_before": os.getloadavg()}
    if "saves" in options.parts:
        results["saves"] = every_buffer(measure_saves, options, base)
        show_saves(results["saves"])
    if "disk" in options.parts:
        results["disk"] = measure_disk(options, base)
        show_disk(results["disk"])
    if "anchors" in options.parts:
        results["anchors"] = every_buffer(measure_anchors, options, base)
        show_anchors(results["anchors"])
    if "resume" in options.parts:
        results["resume"] = part_resume(options, base)
    if "stages" in options.parts:
        results["stages"] = part_stages(options, base)
    results["load_after"] = os.getloadavg()
    results["machine"] = machine()
    return results


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__.splitlines()[0], formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--buffers", nargs="+", default=list(BUFFERS), help="rows x kB of a row")
    parser.add_argument("--disk-buffer", default="4000x50", help="the buffer of the part `disk`")
    parser.add_argument("--stages", nargs="+", choices=STAGES, default=list(STAGES))
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=list(WAYS))
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--steps", type=int, default=240, help="of each stretch with saves")
    parser.add_argument("--saves", type=int, default=5, help="saves of ckptkit in a stretch")
    parser.add_argument("--anchors", type=int, default=5, help="how many of each buffer to time")
    parser.add_argument("--anchor-secs", type=float, default=60.0, help="the most time for them")
    parser.add_argument("--share", type=float, default=0.1, help="the bound for anchors")
    parser.add_argument("--batches", type=int, default=40, help="of each epoch before a resume")
    parser.add_argument("--epochs", type=int, nargs="+", default=[1, 20, 200])
    parser.add_argument(
        "--clock",
        choices=("wall", "cpu"),
        default="wall",
        help="cpu: count the time on all cores instead, for a machine that does other work too",
    )
    parser.add_argument("--quick", action="store_true", help="little of each, in a minute")
    parser.add_argument("--directory", help="where to write; by default a temporary directory")
    parser.add_argument("--json", type=Path, help="also write the numbers into this file")
    options = parser.parse_args()
    if options.quick:
        options.buffers, options.disk_buffer, options.stages = ["100x1"], "2000x1", ["take"]
        options.repeats, options.steps, options.saves, options.batches = 1, 30, 2, 6
        options.epochs = [1, 3]
        options.anchors, options.anchor_secs = 1, 3.0
    if options.clock == "cpu":
        data_training.clock = time.process_time
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    logging.getLogger("ckptkit").setLevel(logging.ERROR)
    logging.getLogger("absl").setLevel(logging.ERROR)
    began = time.perf_counter()
    base = Path(tempfile.mkdtemp(dir=options.directory))
    try:
        results = measure(options, base)
    finally:
        shutil.rmtree(base, ignore_errors=True)
    loads = [f"{results[name][0]:.1f}" for name in ("load_before", "load_after")]
    print(f"\n{results['machine']}; load before {loads[0]}, after {loads[1]}")
    if options.json:
        options.json.write_text(json.dumps(results, indent=1))
    print(f"took {time.perf_counter() - began:.0f} s")


if __name__ == "__main__":
    main()
