"""Publishing at the end of `fit`: when, what stays, and what a killed export leaves behind."""

from __future__ import annotations

import json
import shutil
import time

import numpy as np
import pytest

import ckptkit
from ckptkit.export import check_process, publishing
from ckptkit.exports import unfinished_versions
from ckptkit.exports.export_record import read_export
from ckptkit.ownership.machine_identity import Machine
from ckptkit.storage.files import FileSystem
from tests.keras.conftest import journal_events
from tests.support import checkers


def test_left_overs_of_the_dead_are_removed(trainings, tmp_path):
    base = tmp_path / "export"
    dead, other = (
        unfinished_versions.new_name(),
        unfinished_versions.new_name(Machine("elsewhere", "b" * 36)),
    )
    for name in (
        f".writing-7-{dead}",
        f".removing-6-{dead}",
        f".writing-9-{other}",
        ".writing-x-1",
        "assets",
    ):
        (base / name).mkdir(parents=True)
        (base / name / "saved_model.pb").write_bytes(b"half")
    for owner in (dead, other):
        unfinished_versions.lock_of(base, owner).touch()
    published = ckptkit.export_saved_model(trainings.model(), base, version=10)
    assert {path.name for path in base.iterdir()} == {
        f".writing-9-{other}",
        f".lock-{other}",
        ".writing-x-1",
        "assets",
        "10",
    }
    assert (published / "saved_model.pb").is_file()


def test_one_of_this_process_that_is_under_way_stays(trainings, tmp_path):
    """Two threads may export into one directory at the same time."""

    class Meets(FileSystem):
        def sync_file(self, path):
            super().sync_file(path)
            if not seen and path.name == "saved_model.pb":
                seen.append(path.parent.name)
                ckptkit.export_saved_model(trainings.model(), tmp_path, version=3)

    seen: list[str] = []
    ckptkit.export_saved_model(trainings.model(), tmp_path, version=4, files=Meets())
    assert [name.startswith(".writing-4-") for name in seen] == [True]
    assert {path.name for path in tmp_path.iterdir()} == {"3", "4"}


def record_of(base):
    """Return the record of the only version in a directory."""
    (version,) = list(base.iterdir())
    return read_export(version)


def poisoned(x):
    return x if tf_is_eager() else x * float("nan")


def tf_is_eager():
    import tensorflow as tf

    return tf.executing_eagerly()


def test_a_run_publishes_what_it_ended_with(trainings, run):
    made = trainings.model()
    trainings.fit(run, made, export=True)
    record = record_of(run / "export")
    newest = ckptkit.open_run(run).find("latest")
    assert (record.source.step, record.source.checkpoint, record.source.weights) == (
        newest.step,
        str(newest.name),
        "final",
    )
    assert record.sample == "specs", "nothing is drawn from a dataset for it"
    (event,) = journal_events(run, "exported")
    assert (event.step, event.proof) == (newest.step, "equal bits")
    assert 0 < event.check_secs <= event.secs


def test_data_in_memory_gives_the_sample(trainings, run):
    made = trainings.model()
    x, y = trainings.rows()
    made.fit(x, y, batch_size=12, verbose=0, callbacks=[ckptkit.CheckpointCallback(run)])
    assert record_of(run / "export").sample == "data"


def test_a_large_batch_is_not_checked_whole(trainings, run, monkeypatch):
    seen = []
    ask = publishing.Checker.ask
    monkeypatch.setattr(
        publishing.Checker,
        "ask",
        lambda self, directory, inputs, *more: (
            seen.append(inputs) or ask(self, directory, inputs, *more)
        ),
    )
    made = trainings.model()
    x = np.random.default_rng().normal(size=(100, 4)).astype("float32")
    made.fit(
        x,
        x[:, :1],
        batch_size=100,
        verbose=0,
        shuffle=False,
        callbacks=[ckptkit.CheckpointCallback(run)],
    )
    assert record_of(run / "export").sample == "data"
    (sample,) = (
        tensor for inputs in seen for tensors in inputs.values() for tensor in tensors.values()
    )
    assert sample.numpy().tobytes() == x[-32:].tobytes()


def test_the_limit_is_for_the_answer_and_not_for_what_was_done_before(trainings, tmp_path):
    class Slow(FileSystem):
        def make_dir(self, path):
            super().make_dir(path)
            time.sleep(1.1)

    class Asked(publishing.Checker):
        def _answer(self, request):
            limits.append((self._limit_secs, json.loads(request)["limit_secs"]))
            return super()._answer(request)

    limits = []
    with checkers.using(Asked):
        ckptkit.export_saved_model(trainings.model(), tmp_path, limit_secs=30, files=Slow())
    assert limits == [(30, 30 + check_process._ALARM_AFTER_SECS)]


def test_an_operation_of_a_library(trainings, tmp_path):
    """The fresh process reports the operation, and imports what the user names before it loads."""

    class Foreign(FileSystem):
        def sync_dir(self, path):
            super().sync_dir(path)
            if path.name.startswith(".writing-"):
                graph = path / "saved_model.pb"
                graph.write_bytes(graph.read_bytes().replace(b"Tanh", b"Tanx"))

    with pytest.raises(
        ckptkit.ExportError, match=r"needs the operation 'Tanx', .* imports=\('tensorflow_text',\)"
    ):
        ckptkit.export_saved_model(trainings.model(), tmp_path, files=Foreign())
    with pytest.raises(ckptkit.ExportError, match="No module named 'no_such_library'"):
        ckptkit.export_saved_model(trainings.model(), tmp_path, imports=("no_such_library",))
    assert ckptkit.export_saved_model(
        trainings.model(), tmp_path, imports=("msgspec.json",)
    ).is_dir()


def test_the_best_or_a_step(trainings, tmp_path, run):
    """The model in the program keeps the weights that training ended with."""
    made = trainings.model(seed=5)
    spec = ckptkit.ExportSpec(
        directory=tmp_path / "best", weights="best", monitor="loss", mode="max"
    )
    trainings.fit(run, made, keep=ckptkit.KeepLatest(99), epochs=3, export=spec)
    after = trainings.bits(made, made.optimizer)
    best = max(
        # Averages of an epoch that is not over are compared with nothing.
        (each for each in ckptkit.open_run(run).checkpoints if not each.head.running_averages),
        key=lambda each: each.metrics["loss"],
    )
    newest = ckptkit.open_run(run).find("latest")
    assert best.step < newest.step
    record = record_of(tmp_path / "best")
    assert (record.source.step, record.source.weights) == (best.step, "best")

    trainings.fit(
        run,
        made,
        epochs=3,
        keep=ckptkit.KeepLatest(99),
        export=ckptkit.ExportSpec(directory=tmp_path / "step", weights=best.step),
    )
    assert trainings.bits(made, made.optimizer) == after
    assert record_of(tmp_path / "step").variables == record.variables
    trainings.fit(run, made, epochs=3, keep=ckptkit.KeepLatest(99), export=tmp_path / "final")
    assert record_of(tmp_path / "final").variables != record.variables
    trainings.fit(run, made, epochs=3, keep=ckptkit.KeepLatest(99), export=tmp_path / "final")
    assert [event.step for event in journal_events(run, "exported")] == [
        best.step,
        best.step,
        newest.step,
    ], "once in each place"


def test_a_failed_export_costs_neither_the_return_value_nor_a_checkpoint(trainings, run):
    made = trainings.model()
    bad = {"signatures": {"odd": poisoned}, "sample": {"odd": [1.0, 2.0]}}
    with pytest.warns(
        UserWarning,
        match=r"signature 'odd': .* is nan .* Training and its checkpoints are not affected",
    ):
        history = trainings.fit(run, made, export=ckptkit.ExportSpec(**bad))
    assert history.epoch == [0, 1]
    assert ckptkit.open_run(run).find("latest").manifest.final
    (event,) = journal_events(run, "export_failed")
    assert event.error == "ExportError"
    assert list((run / "export").iterdir()) == []
    with pytest.raises(ckptkit.ExportError, match="signature 'odd'"):
        trainings.fit(run, made, export=ckptkit.ExportSpec(**bad, errors="raise"))
    trainings.fit(run, made, export=True)
    assert record_of(run / "export").source.step == ckptkit.open_run(run).find("latest").step, (
        "the next start publishes what was not published"
    )


def test_data_of_any_form_costs_nothing_but_the_sample(trainings, run):
    """A train step of the user's own takes four parts, a form that Keras does not know."""
    made = trainings.in_four_parts()
    x, y = trainings.rows()
    data = trainings.tf.data.Dataset.from_tensor_slices((x, y, y, y)).batch(trainings.BATCH)
    for epochs in (1, 2):
        made.fit(
            data,
            epochs=epochs,
            verbose=0,
            callbacks=[ckptkit.CheckpointCallback(run, background=False, export=epochs == 2)],
        )
    assert record_of(run / "export").sample == "specs"
    assert [event.step for event in journal_events(run, "exported")] == [2 * trainings.STEPS]
    assert not journal_events(run, "failed")


@pytest.mark.parametrize("where", ["track", "weights_of", "export"])
def test_no_error_of_an_export_gets_out_of_fit(trainings, run, monkeypatch, where):
    def broken(*_, **__):
        raise KeyError("odd")

    monkeypatch.setattr(f"ckptkit.keras.fit.publish_model.{where}", broken)
    made = trainings.model()
    step = 3
    options = {"keep": ckptkit.KeepLatest(99)}
    with pytest.warns(
        UserWarning,
        match=r"could not be exported: KeyError: 'odd'\. Training and its checkpoints are not "
        r"affected",
    ):
        history = trainings.fit(run, made, export=ckptkit.ExportSpec(weights=step), **options)
    assert history.epoch == [0, 1]
    (event,) = journal_events(run, "export_failed")
    assert event.error == "KeyError"
    assert not journal_events(run, "failed")
    with pytest.raises(KeyError, match="odd"):
        trainings.fit(run, made, export=ckptkit.ExportSpec(weights=step, errors="raise"), **options)


def test_a_sweep_switches_exports_off(trainings, run, monkeypatch):
    monkeypatch.setenv("CKPTKIT_EXPORT", "0")
    made = trainings.model()
    trainings.fit(run, made, export=True)
    assert not (run / "export").exists()
    monkeypatch.delenv("CKPTKIT_EXPORT")
    trainings.fit(run, made, export=True)
    assert record_of(run / "export").source.weights == "final"


def test_a_step_whose_line_in_the_journal_was_lost_is_not_exported_twice(trainings, run):
    made = trainings.model()
    trainings.fit(run, made, export=True)
    (before,) = (run / "export").iterdir()
    for path in (run / "journal").iterdir():
        path.write_bytes(
            b"".join(
                line
                for line in path.read_bytes().splitlines(keepends=True)
                if b'"event":"exported"' not in line
            )
        )
    with trainings.logged() as lines:
        trainings.fit(run, made, export=True)
    assert [path.name for path in (run / "export").iterdir()] == [before.name]
    assert any("exported already" in line for line in lines)
    assert len(journal_events(run, "exported")) == 1


def test_exported_already_is_what_servers_take_now(trainings, run):
    """A finished run that is started again publishes only what is missing, and logs each case."""
    made, base = trainings.model(), run / "export"
    trainings.fit(run, made, export=True)

    def again(export=True):
        with trainings.logged() as lines:
            trainings.fit(run, made, export=export)
        versions = sorted(base.iterdir(), key=lambda path: int(path.name))
        return versions[-1], [line for line in lines if "export" in line or "published" in line]

    (first,) = base.iterdir()
    newest, lines = again()
    assert newest == first
    assert any(f"exported already, as {first}" in line for line in lines)

    more = ckptkit.ExportSpec(
        signatures={"more": (made.layers[0], trainings.tf.TensorSpec([None, 4]))}
    )
    newest, lines = again(more)
    assert newest != first
    assert set(read_export(newest).signatures) == {"serve", "more"}
    assert any("exported again: it has other values or other signatures" in line for line in lines)

    (newest / "saved_model.pb").unlink()
    broken = newest
    newest, lines = again(more)
    assert newest != broken
    assert any(
        "exported again: it is incomplete: saved_model.pb is missing" in line for line in lines
    )

    shutil.copytree(newest, base / str(int(newest.name) + 1))
    (base / str(int(newest.name) + 1) / "EXPORT.json").unlink()
    others, lines = again(more)
    assert int(others.name) == int(newest.name) + 1
    assert any(
        "servers load" in line and "which this run has not published" in line for line in lines
    )
    newest, lines = again()
    assert int(newest.name) > int(others.name), (
        "what the user has changed is published all the same"
    )

    shutil.rmtree(base)
    newest, lines = again()
    assert (newest / "saved_model.pb").is_file()
    assert any("published the model as" in line for line in lines)


def test_a_function_that_was_changed_is_exported_anew(trainings, run):
    """It keeps its name, its form and its weights, as when a mistake in it is corrected."""
    made, x = trainings.model(), trainings.rows()[0]
    for factor, versions in ((2.0, 1), (2.0, 1), (3.0, 2)):
        scaled = (lambda x, factor=factor: made(x) * factor, trainings.tf.TensorSpec([None, 4]))
        trainings.fit(run, made, export=ckptkit.ExportSpec(signatures={"scaled": scaled}))
        assert len(list((run / "export").iterdir())) == versions
    served = ckptkit.load_exported(run)
    assert (
        served.signatures["scaled"](x)["output_0"].tobytes()
        == (served(x) * np.float32(3)).tobytes()
    )


def test_runs_that_share_an_export_directory_keep_the_versions_of_others(
    trainings, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    models = {name: trainings.model(seed=ord(name)) for name in "abc"}

    def fit(name, epochs=1):
        with trainings.logged() as lines:
            trainings.fit(tmp_path / name, models[name], epochs=epochs, export="served")
        versions = {path.name: path.stat().st_ino for path in (tmp_path / "served").iterdir()}
        return versions, "\n".join(lines)

    fit("a")
    both, _ = fit("b")
    for name in ("a", "b", "a"):
        assert fit(name)[0] == both
    assert "which this run has not published" in fit("a")[1]
    after, _ = fit("c")
    assert len(after) == 2, "the first one has gone"
    now, lines = fit("a")
    assert now == after
    assert "is gone; servers load" in lines
    assert [len(journal_events(tmp_path / name, "exported")) for name in "abc"] == [1, 1, 1]
    now, _ = fit("a", epochs=2)
    assert max(now, key=int) not in after, "it was trained"


def test_older_versions_go_and_those_of_others_stay(trainings, tmp_path):
    base = tmp_path / "export"
    for number in (3, 9):
        (base / str(number)).mkdir(parents=True)
        (base / str(number) / "saved_model.pb").write_bytes(b"not ours")
    made = trainings.model()
    for number in (11, 12, 13, 14):
        with pytest.raises(
            ckptkit.ConfigError,
            match=f"larger than the newest in .* \\({number - 1 if number > 11 else 9}\\)",
        ):
            ckptkit.export_saved_model(made, base, version=9)
        ckptkit.export_saved_model(made, base, version=number, keep=None if number < 14 else 2)
    assert {path.name for path in base.iterdir()} == {"3", "9", "13", "14"}
    with pytest.raises(ckptkit.ConfigError, match="keep is the number of versions"):
        ckptkit.export_saved_model(made, base, keep=0)


def test_a_run_trained_longer_is_published_again(trainings, run):
    made = trainings.model()
    for epochs in (1, 2, 3):
        trainings.fit(run, made, epochs=epochs, export=True)
    versions = sorted(int(path.name) for path in (run / "export").iterdir())
    steps = [read_export(run / "export" / str(version)).source.step for version in versions]
    assert steps == [2 * trainings.STEPS, 3 * trainings.STEPS]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"weights": "worst"}, "weights is 'final', 'best' or a step"),
        ({"weights": -1}, "weights is"),
        ({"weights": True}, "weights is"),
        ({"keep": 0}, "keep is the number"),
        ({"keep": 1.5}, "keep is the number"),
        ({"rtol": -1}, "rtol is a tolerance"),
        ({"atol": "a"}, "atol is"),
        ({"imports": "tensorflow_text"}, "imports names modules"),
        ({"imports": ("a b",)}, "imports names modules"),
        ({"limit_secs": 0}, "limit_secs is a duration"),
        ({"errors": "ignore"}, "errors is 'warn' or 'raise'"),
        ({"mode": "low"}, "mode says"),
        ({"directory": "gs://a/b"}, "Received the URL"),
        ({"directory": __file__}, "is a file"),
    ],
)
def test_wrong_options_are_refused_at_the_line_that_gives_them(options, said):
    with pytest.raises(ckptkit.ConfigError, match=said):
        ckptkit.ExportSpec(**options)


@pytest.mark.parametrize(
    ("signatures", "said"),
    [
        ({}, "signatures names functions"),
        ([poisoned], "signatures names functions"),
        ({"a b": poisoned}, "becomes a method"),
        ({"variables": poisoned}, "becomes a method"),
        ({"_x": poisoned}, "becomes a method"),
        ({"x": 3}, "A signature is a function"),
        ({"x": (poisoned, 3, 4)}, "A signature is a function"),
    ],
)
def test_signatures_that_cannot_be_right(trainings, tmp_path, signatures, said):
    with pytest.raises(ckptkit.ConfigError, match=said):
        ckptkit.export_saved_model(trainings.model(), tmp_path / "export", signatures=signatures)
    assert not (tmp_path / "export").exists()
