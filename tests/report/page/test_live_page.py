"""`ckptkit watch`: the report in the browser while the run is training."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from http import HTTPStatus

import pytest

from ckptkit.run.events import Finished
from tests.cli.conftest import ROOT, DummyRun
from tests.support.schemas import printed


@pytest.fixture
def run(tmp_path):
    run = DummyRun(tmp_path / "run")
    run.attempt(host=socket.gethostname(), pid=os.getpid())
    run.save(100, metrics={"loss": 0.5})
    return run


@pytest.fixture
def served(run):
    """The address at which a process serves the run, and the process."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"}
    with subprocess.Popen(
        [sys.executable, "-m", "ckptkit", "watch", run.root, "--every", "1", "--json"],
        stdout=subprocess.PIPE,
        text=True,
        env=environment,
    ) as process:
        try:
            assert process.stdout is not None
            lines = [process.stdout.readline() for _ in range(5)]
            yield printed("watch", "".join(lines))["url"], process
        finally:
            process.kill()


def fetch(url: str, **headers: str) -> tuple[str, dict[str, str]]:
    with urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=30) as answer:
        return answer.read().decode(), dict(answer.headers)


def test_each_request_shows_the_run_as_it_is(run, served):
    url, process = served
    page, headers = fetch(url)
    assert headers["Refresh"] == "1"
    assert "ckpt-100-1" in page
    assert "ckpt-200-1" not in page
    run.save(200, final=True)
    run.record(Finished(step=200, epoch=1))
    page, headers = fetch(url)
    assert "ckpt-200-1" in page
    assert "Refresh" not in headers, "a finished run does not change"
    process.send_signal(signal.SIGINT)
    assert process.wait(30) == 0


@pytest.mark.parametrize(
    ("path", "host", "status"),
    [
        ("", "attacker.example", HTTPStatus.FORBIDDEN),
        ("etc/passwd", None, HTTPStatus.NOT_FOUND),
        ("", "localhost:PORT", HTTPStatus.OK),
    ],
)
def test_only_this_machine_is_answered(served, path, host, status):
    url, _ = served
    headers = {} if host is None else {"Host": host.replace("PORT", url.split(":")[2].strip("/"))}
    try:
        fetch(url + path, **headers)
        found = HTTPStatus.OK
    except urllib.error.HTTPError as error:
        found = HTTPStatus(error.code)
    assert found == status


def test_a_port_that_is_taken_and_a_run_that_is_none(run):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        for arguments, code, words in [
            ([run.root, "--port", str(taken.getsockname()[1])], 1, "Leave --port out"),
            ([run.root / "missing"], 10, "does not exist"),
        ]:
            done = subprocess.run(
                [sys.executable, "-m", "ckptkit", "watch", *arguments],
                env={**os.environ, "PYTHONPATH": str(ROOT)},
                capture_output=True,
                text=True,
                timeout=60,
                check=False,
            )
            assert (done.returncode, words in done.stderr) == (code, True), done.stderr


@pytest.mark.parametrize("width", [390, 1280])
def test_an_open_page_follows_the_training(browser, run, served, width):
    url, _ = served
    browser.driver.set_window_size(width, 900)
    browser.driver.get(url)
    rows = 'return document.querySelectorAll("tbody tr[data-checkpoint]").length'
    browser.wait(lambda: browser.js(rows) == 1)
    run.save(200, metrics={"loss": 0.25})
    browser.wait(lambda: browser.js(rows) == 2)
    errors = [entry for entry in browser.driver.get_log("browser") if entry["level"] == "SEVERE"]
    # A browser asks for an icon by itself, which the server does not have.
    assert [each for each in errors if "favicon" not in json.dumps(each)] == []
