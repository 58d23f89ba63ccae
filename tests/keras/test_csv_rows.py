"""A resume and the file of a `CSVLogger`: only rows that the run itself wrote may be removed."""

from __future__ import annotations

import random

import pytest

from ckptkit.keras.csv_rows import without_rows
from tests.keras.conftest import journal_events

HEADER = b"epoch,loss\r\n"


def rows(chosen, count):
    return [f"{number},{chosen.random()}\r\n".encode() for number in range(count)]


def test_the_rows_of_others_stay_in_their_order(seed):
    chosen = random.Random(seed)
    for _ in range(200):
        mine, theirs = rows(chosen, chosen.randint(0, 5)), rows(chosen, chosen.randint(1, 5))
        tail, own, others = [], list(mine), list(theirs)
        while own or others:
            tail.append((own if own and (not others or chosen.random() < 0.5) else others).pop(0))
        noted = {*mine, *rows(chosen, 2)}  # some were noted and never written
        assert without_rows(b"".join(tail), noted) == (b"".join(theirs), len(theirs))


@pytest.mark.parametrize(
    ("tail", "noted", "kept"),
    [
        (b"3,0.5\r\n", [b"3,0.5\r\n"], b""),
        (b"3,0.5\r\n3,0.5\r\n", [b"3,0.5\r\n"], b"3,0.5\r\n"),
        (b"3,0.5\r\n4,0", [b"3,0.5\r\n", b"4,0.25\r\n"], b""),
        (b"3,0.5\r\n4,7", [b"3,0.5\r\n", b"4,0.25\r\n"], b"4,7"),
        (HEADER + b"0,1\r\n", [HEADER, b"0,1\r\n"], b""),
        (HEADER + b"0,1\r\n0,2\r\n", [HEADER, b"0,1\r\n"], HEADER + b"0,2\r\n"),
        (b"a note\n", [], b"a note\n"),
    ],
)
def test_single_cases(tail, noted, kept):
    assert without_rows(tail, noted)[0] == kept


def test_a_file_that_two_runs_share(trainings, run, tmp_path):
    """The second run writes between the checkpoint of the first and its resume."""
    shared, alone = tmp_path / "shared.csv", tmp_path / "alone.csv"

    def fit(run, *callbacks, file=shared, seed=7, **options):
        logger = trainings.keras.callbacks.CSVLogger(file, append=True)
        trainings.fit(run, trainings.model(seed=seed), logger, *callbacks, epochs=4, **options)

    fit(run.with_name("whole"), file=alone)
    with pytest.raises(trainings.StopError):
        # Ends in its last epoch, with three rows; its checkpoint is of an earlier one.
        fit(run, trainings.after(14), save=trainings.ckptkit.EveryNEpochs(2))
    fit(run.with_name("other"), seed=8)
    others = shared.read_bytes().splitlines(keepends=True)[4:]
    assert [line[:2] for line in others] == [b"0,", b"1,", b"2,", b"3,"]
    with trainings.logged() as lines:
        fit(run)
    found, expected = (path.read_bytes().splitlines(keepends=True) for path in (shared, alone))
    assert [line for line in found if line not in others] == expected, "each row of the run once"
    assert [line for line in found if line in others] == others, "each row of the other, in order"
    assert len([line for line in lines if "4 lines after the checkpoint" in line]) == 1


def test_a_file_that_was_cut_meanwhile_is_left_alone(trainings, run, tmp_path):
    file = tmp_path / "log.csv"

    def fit(*callbacks):
        logger = trainings.keras.callbacks.CSVLogger(file)
        trainings.fit(run, trainings.model(), logger, *callbacks, epochs=3)

    with pytest.raises(trainings.StopError):
        fit(trainings.after(10))
    file.write_bytes(HEADER)
    with trainings.logged() as lines:
        fit()
    assert file.read_bytes().startswith(HEADER)
    assert any("is shorter than it was" in line for line in lines)
    assert {event.file for event in journal_events(run, "csv_row")} == {str(file)}
