"""`ckptkit report`: where it writes, what it refuses, and its exit codes. What is in a report is
tried in `tests/report/page`.
"""

from __future__ import annotations

import json
import os
import pty
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from ckptkit.cli.report_command import document_of
from ckptkit.log import size
from ckptkit.report.document import values_of
from ckptkit.report.html_page import REPORT_MARK
from ckptkit.run.events import AttemptEnded, Finished


@pytest.fixture
def run(dummy_run):
    dummy_run.attempt()
    dummy_run.save(
        100,
        metrics={"loss": float("nan"), "val_loss": 0.5},
        hyperparameters={"optimizer": {"name": "Adam"}, "none": None},
    )
    dummy_run.record(Finished(step=100, epoch=1)).record(AttemptEnded(outcome="finished", step=100))
    return dummy_run


def test_a_report_is_written_and_said(run, ckptkit, tmp_path):
    result = ckptkit("report", "run", "-o", "run.html")
    assert result.returncode == 0, result.stderr
    data = (tmp_path / "run.html").read_bytes()
    assert data.startswith(REPORT_MARK)
    assert result.stdout == f"wrote run.html ({size(len(data))}): finished at step 100 (1 epoch)\n"
    assert result.stderr == ""
    assert sorted(path.name for path in tmp_path.iterdir()) == ["run", "run.html"], (
        "nothing is left beside it"
    )
    umask = os.umask(0)
    os.umask(umask)
    assert stat.S_IMODE((tmp_path / "run.html").stat().st_mode) == 0o666 & ~umask


def test_it_needs_no_tensorflow(run, environment, tmp_path):
    program = (
        "import sys\nfrom ckptkit.cli import main\ncode = main(['report', 'run', '-o', "
        "'run.html'])\n"
        "sys.exit(code or any(name in sys.modules for name in ('tensorflow', 'keras', "
        "'tensorboard', 'h5py')))"
    )
    subprocess.run([sys.executable, "-c", program], check=True, cwd=tmp_path, env=environment)


def test_to_standard_output(run, ckptkit, called, tmp_path):
    result = ckptkit("report", "run", "-o", "-")
    assert result.returncode == 0
    assert result.stdout.encode().startswith(REPORT_MARK)
    assert result.stdout.endswith("</html>\n")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["run"]


def test_json_of_the_command_is_the_document(run, called):
    result = called("report", "run", "--json")
    assert result.returncode == 0
    values = json.loads(result.stdout)
    assert next(iter(values)) == "version"
    expected = values_of(document_of("run"))
    ignored = ("made_at", "wall_time", "attempts")
    assert {name: value for name, value in values.items() if name not in ignored} == {
        name: value
        for name, value in json.loads(json.dumps(expected)).items()
        if name not in ignored
    }
    assert values["checkpoints"][0]["metrics"] == {"loss": "nan", "val_loss": 0.5}
    assert values["configuration"] == {
        "checkpoint": "ckpt-100-1",
        "hyperparameters": {"optimizer": {"name": "Adam"}, "none": None},
        "changes": [],
    }
    assert (values["version"], values["run"]["name"], values["run"]["directory"]) == (
        1,
        "run",
        "run",
    )


@pytest.mark.parametrize("arguments", [("run", "-o", "run/x.html"), ("run", "-o", "run/a/../x")])
def test_a_report_is_not_written_into_its_run(run, called, tmp_path, arguments):
    (tmp_path / "run" / "a").mkdir()
    result = called("report", *arguments)
    assert result.returncode == 2
    assert f"-o {tmp_path / 'run.html'}" in result.stderr
    assert not list((tmp_path / "run").glob("x*"))


def test_a_report_of_the_run_in_which_one_is(run, called, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path / "run")
    assert called("report", ".").returncode == 2
    assert not list((tmp_path / "run").glob("*.html"))


def test_an_earlier_report_is_replaced(run, called, tmp_path):
    assert called("report", "run", "-o", "run.html").returncode == 0
    (tmp_path / "kept.html").hardlink_to(tmp_path / "run.html")
    before = (tmp_path / "run.html").read_bytes()
    run.attempt()
    run.save(200)
    assert called("report", "run", "-o", "run.html").returncode == 0
    assert b"ckpt-200-2" in (tmp_path / "run.html").read_bytes()
    assert (tmp_path / "kept.html").read_bytes() == before, (
        "what was there is not written into: a new file took its name"
    )


def test_what_a_link_leads_to_is_replaced_and_not_the_link(run, called, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "link.html").symlink_to("elsewhere/run.html")
    assert called("report", "run", "-o", "link.html").returncode == 0
    assert (tmp_path / "link.html").is_symlink()
    assert (tmp_path / "elsewhere" / "run.html").read_bytes().startswith(REPORT_MARK)


def test_any_other_file_is_not_replaced(run, called, tmp_path):
    for name, content in (
        ("notes.txt", b"my notes"),
        ("empty", b""),
        ("page.html", b"<!doctype html>\n<p>mine"),
    ):
        (tmp_path / name).write_bytes(content)
        result = called("report", "run", "-o", name)
        assert result.returncode == 2
        assert result.stderr.startswith(f"ckptkit: {name} exists and is not a report")
        assert "remove that one first" in result.stderr
        assert (tmp_path / name).read_bytes() == content


@pytest.mark.parametrize(
    ("output", "said"),
    [
        ("run", "run is a directory. Expected the name of a file"),
        ("nowhere/run.html", "There is no directory nowhere."),
        ("pipe", "pipe is not a regular file."),
        ("x" * 300, "cannot be a file"),
    ],
)
def test_a_place_that_is_no_files(run, called, tmp_path, output, said):
    os.mkfifo(tmp_path / "pipe")
    result = called("report", "run", "-o", output)
    assert result.returncode == 2
    assert said in result.stderr
    assert result.stderr.count("\n") == 1


@pytest.mark.parametrize(
    "arguments",
    [["run", "--json", "-o", "x.html"], ["-o", "x.html"], ["run", "-o"]],
    ids=str,
)
def test_usage(run, called, tmp_path, arguments):
    assert called("report", *arguments).returncode == 2
    assert not (tmp_path / "x.html").exists()


def test_no_run(called, tmp_path):
    assert called("report", "missing", "-o", "x.html").returncode == 10
    assert called("report", "missing", "--json").returncode == 10
    assert not (tmp_path / "x.html").exists()


def test_a_disk_that_refuses(run, ckptkit, tmp_path):
    """A limit on the size of files, since a full disk cannot be had here."""
    (tmp_path / "limited").write_text("ulimit -f 8\ntrap '' XFSZ\nexec \"$@\"\n")
    assert ckptkit("report", "run", "-o", "run.html").returncode == 0
    before = (tmp_path / "run.html").read_bytes()
    environment = {
        **os.environ,
        "PYTHONPATH": str(Path(__file__).resolve().parents[2]),
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    result = subprocess.run(
        ["bash", "limited", sys.executable, "-m", "ckptkit", "report", "run", "-o", "run.html"],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 1
    assert result.stderr.startswith("ckptkit: Could not write run.html: ")
    assert (tmp_path / "run.html").read_bytes() == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["limited", "run", "run.html"]


def test_damage_is_shown_and_is_no_error_of_this_command(run, called, tmp_path):
    next(run.layout.checkpoints.glob("*/*.index")).write_bytes(b"x")
    result = called("report", "run", "--json")
    assert result.returncode == 0
    assert json.loads(result.stdout)["verification"]["damaged"] == 1


def test_long_work_shows_how_far_it_is(run, environment, tmp_path):
    """On a terminal; here the work is made long by a clock that jumps."""
    program = (
        "import sys, itertools, time\nseconds = itertools.count()\ntime.monotonic = lambda: "
        "float(next(seconds))\n"
        "from ckptkit.cli import main\nsys.exit(main(['report', 'run', '-o', 'run.html', "
        "'--verify']))"
    )
    leader, follower = pty.openpty()
    with os.fdopen(leader, "rb", 0) as terminal:
        code = subprocess.run(
            [sys.executable, "-c", program],
            cwd=tmp_path,
            env=environment,
            stderr=follower,
            stdout=subprocess.DEVNULL,
            check=False,
        ).returncode
        os.close(follower)
        assert code == 0
        assert b"verifying" in terminal.read(4096)


@pytest.mark.parametrize("options", [[], ["--verify"]], ids=str)
def test_a_manifest_of_which_only_the_state_is_damaged(run, called, options):
    """As in the first form, which has no digest. A list does not look there."""
    path = run.save(200) / "manifest.json"
    manifest = json.loads(path.read_text())
    del manifest["digest"]
    manifest["tensors"][0]["key"] = "none"
    path.write_text(json.dumps(manifest | {"format_version": 1}))
    result = called("report", "run", "--json", *options)
    assert (result.returncode, result.stderr) == (0, "")
    assert {each["name"]: each["status"] for each in json.loads(result.stdout)["checkpoints"]} == {
        "ckpt-100-1": "good",
        "ckpt-200-1": "damaged",
    }
