"""`ckptkit.seeded`: every generator draws the same in each attempt of a run."""

from __future__ import annotations

PROGRAMS = "tests.session.seeding_programs:"


def test_every_generator_draws_the_same_in_each_start_of_a_run(tf_call, tmp_path):
    said = tf_call(PROGRAMS + "every_generator", str(tmp_path)).check().result
    first, second = said["one"]
    assert first == second
    seed, draws = said["other"]
    assert seed != first[0]
    assert all(a != b for a, b in zip(draws[:4], first[1][:4], strict=True))


def test_the_program_may_still_configure_tensorflow(tf_call, tmp_path):
    assert tf_call(PROGRAMS + "devices_afterwards", str(tmp_path / "run")).check().result == 3


def test_a_directory_that_cannot_be_a_run_is_an_error_and_nothing_is_written(tf_call, tmp_path):
    said = tf_call(PROGRAMS + "errors", str(tmp_path)).check().result
    for name, expected in {
        "file": "ConfigError: {}/file is a file",
        "file/run": "StorageError: [Errno 20] Could not make the directory {}/file/run",
        "data": "ConfigError: {}/data already holds other files (photo.png)",
        "models": "ConfigError: {}/models holds saved models or weights (best.keras)",
        "linked": "StorageError: [Errno 40] {}/linked/seed is a symbolic link",
        "{trial}": "ConfigError: Expected the directory of one run.",
        "$NOT_SET/run": "ConfigError: $NOT_SET/run names the environment variable $NOT_SET",
    }.items():
        assert said[name].startswith(expected.format(tmp_path)), said[name]
    assert not list(tmp_path.rglob("seed.json"))


def test_a_warning_about_an_open_run_comes_once(tf_call, tmp_path):
    (opened,) = tf_call(PROGRAMS + "with_the_run_open", str(tmp_path)).check().result
    assert "while this process has the run open" in opened


def test_the_trainings_of_an_audit_have_the_same_seed(tf_call, tmp_path):
    """They are compared with each other, and write nothing into the user's run."""
    said = tf_call(PROGRAMS + "in_an_audit", str(tmp_path)).check().result
    first, second = said["seeds"]
    assert first == second
    assert first[0] != first[1]
    assert said["user"] is None
