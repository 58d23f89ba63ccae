"""Settings: four sources, one over the other, and none that is misspelled."""

from __future__ import annotations

import dataclasses
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import get_args, get_type_hints

import pytest

from ckptkit.cli import main
from ckptkit.errors import ConfigError
from ckptkit.launcher.launcher_settings import (
    FIELDS,
    NO_SETTINGS,
    PREFIX,
    Settings,
    option_of,
    packaged_configs,
    settings_of,
    settle,
)
from ckptkit.preemption.policy import Preemption
from tests.docs_examples import ROOT

CONFIGS = sorted((ROOT / "configs").glob("*.toml"))


def toml(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "config.toml"
    path.write_text(text)
    return path


def test_a_later_source_counts_more(tmp_path):
    config = toml(tmp_path, "crashes = 7\ngrace_secs = 40\nlog_files = 9\n")
    found = settle(
        config,
        {"CKPTKIT_CRASHES": "8", "CKPTKIT_GRACE_SECS": "50", "HOME": "/root"},
        {"crashes": 9, "run": None},
    )
    assert {
        name: (found[name].value, found[name].source)
        for name in ("crashes", "grace_secs", "log_files", "no_progress")
    } == {
        "crashes": (9, "command line, --crashes"),
        "grace_secs": (50.0, "environment, CKPTKIT_GRACE_SECS"),
        "log_files": (9, str(config)),
        "no_progress": (3, "default"),
    }
    settings = settings_of(found)
    assert (settings.crashes, settings.grace_secs, settings.run) == (9, 50.0, "")


@pytest.mark.parametrize(
    ("text", "environment", "said"),
    [
        ("crash = 5", {}, "Did you mean crashes?"),
        ("", {"CKPTKIT_GRACE_SEC": "5"}, "Did you mean CKPTKIT_GRACE_SECS?"),
        ("zzz = 1", {}, "Expected one of run, workers, notices,"),
        ("crashes = -1", {}, "crashes is invalid"),
        ("crashes = '5'", {}, "crashes is invalid"),
        ("crashes = true", {}, "crashes is invalid"),
        ("grace_secs = 0", {}, "grace_secs is invalid"),
        ("signal = 'SIGKILL'", {}, "signal is invalid"),
        (
            "",
            {"CKPTKIT_SIGNAL": "SIGHUP"},
            "signal is invalid",
        ),  # a training takes SIGTERM and SIGUSR1 for the end, and dies of others
        ("signal = 'SIGUSR2'", {}, "signal is invalid"),
        ("[table]\ncrashes = 5", {}, "There is no setting 'table'"),
        ("crashes = ", {}, "is not a TOML file"),
        ("", {"CKPTKIT_CRASHES": "many"}, "CKPTKIT_CRASHES: crashes is invalid"),
        ("", {"CKPTKIT_GRACE_SECS": ""}, "grace_secs is invalid"),
    ],
)
def test_what_cannot_be_right_is_said(tmp_path, text, environment, said):
    with pytest.raises(ConfigError) as caught:
        settle(toml(tmp_path, text), environment, {})
    assert said in str(caught.value)


def test_a_notice_is_told_by_a_signal_that_every_training_takes():
    taken = get_args(get_type_hints(Settings)["signal"])
    assert set(taken) <= set(Preemption().signals)


def test_variables_that_the_package_reads_itself_are_let_be():
    """Whatever in the package names one, in quotes or in words, is known: a setting's variable or
    one that sets nothing here.
    """
    named = {
        name
        for path in (ROOT / "ckptkit").rglob("*.py")
        for name in re.findall(r"\bCKPTKIT_[A-Z_]*[A-Z]\b", path.read_text())
    }
    others = named - {PREFIX + name.upper() for name in FIELDS}
    assert others >= {"CKPTKIT_LAUNCHER", "CKPTKIT_CONFIG", "CKPTKIT_EXPORT"}
    assert settings_of(settle(None, dict.fromkeys(others, "0"), {})) == Settings()
    assert others == NO_SETTINGS, "a name that nothing reads would hide a misspelled setting"


@pytest.mark.parametrize("config", CONFIGS, ids=lambda path: path.stem)
def test_the_shipped_files_hold(config):
    settings_of(settle(config, {}, {}))
    assert {path.stem for path in CONFIGS} >= {"default", "spot-gpu", "slurm", "debug"}


def test_the_default_file_is_what_is_default():
    assert tomllib.loads((ROOT / "configs" / "default.toml").read_text()) == dataclasses.asdict(
        Settings()
    )


def test_explain_shows_each_value_with_where_it_comes_from(tmp_path, monkeypatch, capsys):
    config = toml(tmp_path, "crashes = 7\n")
    monkeypatch.setenv("CKPTKIT_LOG_FILES", "9")
    assert main(["run", "--config", str(config), "--grace-secs", "12.5", "--explain"]) == 0
    rows = {
        line.split()[0]: " ".join(line.split()[1:])
        for line in capsys.readouterr().out.splitlines()[1:]
    }
    assert set(rows) == set(FIELDS)
    assert rows["crashes"] == f"7 {config}"
    assert rows["log_files"] == "9 environment, CKPTKIT_LOG_FILES"
    assert rows["grace_secs"] == f"12.5 command line, {option_of('grace_secs')}"
    assert rows["notices"] == "auto default"


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["--config", "missing.toml", "--", "true"], 78, "Could not read missing.toml"),
        (["--notices", "nonsense", "--", "true"], 78, "nonsense"),
        (["--run", "gs://bucket/run", "--notices", "off", "--", "true"], 78, "Mount storage"),
        (["--crashes", "-1", "--", "true"], 78, "--crashes"),
        ([], 2, "Expected the training command after --"),
        (["--nonsense", "--", "true"], 2, "No such option"),
    ],
)
def test_what_is_wrong_with_the_configuration_is_told_before_anything_is_started(
    tmp_path, arguments, code, said
):
    done = subprocess.run(
        [sys.executable, "-m", "ckptkit", "run", *arguments],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        env={"PATH": "/usr/bin:/bin", "PYTHONPATH": str(ROOT)},
        stdin=subprocess.DEVNULL,
    )
    assert done.returncode == code, done.stderr
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_settings_of_the_package_have_names(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert settle(Path("spot-gpu"), {}, {})["hang_secs"].value == 1800
    Path("spot-gpu").write_text("hang_secs = 7.0\n")
    assert settle(Path("spot-gpu"), {}, {})["hang_secs"].value == 7, "a file of the user wins"
    with pytest.raises(ConfigError, match=r"debug, default, slurm, spot-gpu"):
        settle(Path("spot"), {}, {})


def test_configs_in_the_repository_are_those_of_the_package():
    found = {path.stem: path.resolve() for path in (ROOT / "configs").glob("*.toml")}
    assert found == packaged_configs()
