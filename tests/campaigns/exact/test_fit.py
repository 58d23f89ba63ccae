"""An interrupted `fit` ends with the bits of an uninterrupted one: a spread here, all of it in the
long suite.
"""

from __future__ import annotations

import itertools
import json
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from tests.campaigns.exact.compare import Comparison, events
from tests.support.spread import spread

DATA = [
    "plain",
    "shuffle_seeded",
    "shuffle_global_seed",
    "shuffle_same",
    "two_shuffles",
    "cache",
    "repeat_twice",
    "unknown_length",
    "repeat",
    "interleave",
    "interleave_shuffled",
    "index_shuffled",
    "random_map",
    "from_generator",
    "py_function",
    "numpy",
    "tensors",
    "class_weight",
    "sample_weight",
    "validation_split",
    "py_dataset",
    "py_dataset_workers",
    "generator_own",
    "generator_global",
    "concatenate",
    "batch_shuffle",
    "captured_shuffle",
]
MODELS = [
    "steps_per_execution",
    "jit",
    "cosine",
    "ema",
    "accumulation",
    "loss_scale",
    "mixed",
    "unbuilt",
    "gan",
    "global_seed",
    "rnn",
    "embedding",
]
MOMENTS: dict[str, list[dict[str, Any]]] = {
    "mid_epoch": [{"batch": [1, 4]}],
    "epoch_boundary": [{"batch": [2, 0]}],
    "first_batch": [{"batch": [0, 0]}],
    "last_batch": [{"last": 0}],
    "evaluation": [{"evaluation": [1, 2]}],
}
SIGTERM = {"signal": "SIGTERM"}


@pytest.mark.parametrize("kind", spread(DATA, 12))
def test_data(kind: str, tf_process: Any, tmp_path: Path) -> None:
    deaths = [{"batch": [0, 3]}, {"evaluation": [1, 2]}, {"batch": [2, 5]}]
    Comparison(tf_process, tmp_path, data=kind).check(deaths, save=2)


def test_data_that_was_read_ahead_by_another_amount(tf_process: Any, tmp_path: Path) -> None:
    """A generator goes on over the epochs, and has read ahead by the time when an epoch begins: by
    more, where the machine is slow.
    """
    Comparison(tf_process, tmp_path, data="generator_global").check(
        [{"batch": [2, 5], "pause_secs": 0.5}], save=2
    )


@pytest.mark.parametrize("kind", spread(MODELS, 6, 1))
def test_model(kind: str, tf_process: Any, tmp_path: Path) -> None:
    deaths = [{"after": 2}, {"after": 4}]
    Comparison(tf_process, tmp_path, model=kind).check(deaths, save=1)


@pytest.mark.parametrize(
    "options",
    [
        {"model": "unbuilt"},
        {"model": "gan"},
        {"model": "ema", "callbacks": "stopping", "data": "repeat_twice", "validation": False},
    ],
    ids=["unbuilt", "gan", "best weights for averages"],
)
def test_a_finished_run_that_is_started_again(
    options: dict[str, Any], tf_process: Any, tmp_path: Path
) -> None:
    """It has its final state: also where nothing of the model is built before a step, and where
    Keras' averages gave way to the best weights.
    """
    comparison = Comparison(tf_process, tmp_path, **options)
    finished = comparison.interrupted([], save=1)
    assert comparison.attempt(comparison.directory, comparison.run) == finished


@pytest.mark.parametrize("kind", spread(["stopping", "swap_ema", "scheduler"], 3))
def test_callbacks(kind: str, tf_process: Any, tmp_path: Path) -> None:
    options = {"model": "ema"} if kind == "swap_ema" else {}
    Comparison(tf_process, tmp_path, callbacks=kind, epochs=6, **options).check(
        [{"batch": [1, 3]}, {"evaluation": [3, 1]}], save=3
    )


@pytest.mark.parametrize(
    ("callbacks", "model"), spread([("swap_ema", "ema"), ("weights", "dense")])
)
def test_callbacks_that_change_the_model_where_a_run_goes_on(
    callbacks: str, model: str, tf_process: Any, tmp_path: Path
) -> None:
    """What they did at the beginning of a batch or of an evaluation is in the state already, and is
    not done twice.
    """
    Comparison(tf_process, tmp_path, model=model, callbacks=callbacks, data="numpy").check(
        [
            {"evaluation": [0, 1], **SIGTERM},
            {"batch": [1, 3], **SIGTERM},
            {"last": 1, "signal": "SIGKILL"},
        ],
        save=1,
    )


@pytest.mark.parametrize("kind", spread(DATA, 20, 1))
def test_a_signal_to_stop(kind: str, tf_process: Any, tmp_path: Path) -> None:
    """It saves where it arrives: in mid-epoch, at the last batch of an epoch, in an evaluation, and
    there is nothing left to do again.
    """
    comparison = Comparison(tf_process, tmp_path, data=kind)
    comparison.check(
        [{"batch": [0, 3], **SIGTERM}, {"last": 0, **SIGTERM}, {"evaluation": [1, 2], **SIGTERM}],
        save="epoch",
    )
    batches = [record[1:3] for record in events(comparison.directory) if record[0] == "batch"]
    assert batches == [record[1:3] for record in events(comparison.without) if record[0] == "batch"]


@pytest.mark.parametrize("kind", spread(DATA, 27, 2))
def test_the_callback_changes_no_bit(kind: str, tf_process: Any, tmp_path: Path) -> None:
    """Of a run that nobody interrupts."""
    comparison = Comparison(tf_process, tmp_path, data=kind)
    comparison.check([], save=1)
    assert events(comparison.directory) == events(comparison.without)


@pytest.mark.long
@pytest.mark.parametrize("kind", MODELS)
def test_the_callback_changes_no_bit_of_a_model(kind: str, tf_process: Any, tmp_path: Path) -> None:
    comparison = Comparison(tf_process, tmp_path, model=kind)
    comparison.check([], save=1)
    assert events(comparison.directory) == events(comparison.without)


@pytest.mark.parametrize(
    "kind",
    [
        pytest.param("py_dataset", marks=pytest.mark.long),
        pytest.param("generator_own", marks=pytest.mark.long),
        "shuffle_global_seed",
    ],
)
def test_killed_while_a_checkpoint_is_written(kind: str, tf_process: Any, tmp_path: Path) -> None:
    """Each time at another place in the writing: some milliseconds after its directory has
    appeared.
    """
    comparison = Comparison(tf_process, tmp_path, data=kind, save=1, background=False)
    plain = comparison.plain()
    halves = 0
    for number, delay_secs in enumerate((0.0, 0.002, 0.004, 0.008)):
        process = comparison.begin(comparison.directory, comparison.run)
        checkpoints = comparison.run / "checkpoints"
        while sum(
            json.loads(line)["event"] == "saved" for line in journal_of(comparison.run, number + 1)
        ) < 2 or not half(checkpoints):
            assert process.poll() is None, process.output()
        time.sleep(delay_secs)
        assert process.kill() == -signal.SIGKILL
        halves += half(checkpoints)
    assert halves > 0
    comparison.compare(plain, comparison.attempt(comparison.directory, comparison.run))


def journal_of(run: Path, attempt: int) -> list[str]:
    """The complete lines that an attempt has written so far."""
    file = run / "journal" / f"attempt-{attempt:06}.jsonl"
    return file.read_text().splitlines(keepends=True)[:-1] if file.exists() else []


def half(checkpoints: Path) -> bool:
    return any(checkpoints.glob(".writing-*"))


@pytest.mark.long
@pytest.mark.parametrize(("kind", "moment"), list(itertools.product(DATA, MOMENTS)))
def test_every_kind_at_every_moment(
    kind: str, moment: str, tf_process: Any, tmp_path: Path
) -> None:
    Comparison(tf_process, tmp_path, data=kind).check(MOMENTS[moment], save=1)


@pytest.mark.long
@pytest.mark.parametrize("kind", DATA)
def test_saved_at_every_step_and_killed_three_times(
    kind: str, tf_process: Any, tmp_path: Path
) -> None:
    deaths = [{"last": 0}, {"after": 1}, {"batch": [2, 3]}]
    Comparison(tf_process, tmp_path, data=kind).check(deaths, save=1)


@pytest.mark.long
@pytest.mark.parametrize(
    ("model", "kind"),
    list(itertools.product(MODELS, ["unknown_length", "numpy", "py_dataset", "from_generator"])),
)
def test_models_on_other_data(model: str, kind: str, tf_process: Any, tmp_path: Path) -> None:
    deaths = [{"after": 3}, {"after": 3, **SIGTERM}]
    Comparison(tf_process, tmp_path, model=model, data=kind).check(deaths, save=2)
