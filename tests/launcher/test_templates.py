"""Templates for clouds, Kubernetes and Slurm: each passes its validator, which finds what is broken
in it; what they promise together holds.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from ckptkit.cli import main as cli
from tests.launcher import validators
from tests.launcher.validators import ROOT

Validator = Callable[[str, Path], str]

TEMPLATES: dict[str, tuple[Validator, dict[str, str]]] = {
    "scripts/launch/gce-create.sh": (
        validators.shell,
        {'"$NAME" \\\n': "$NAME \\\n", "set -euo pipefail\n": "set -euo pipefail\nif true; then\n"},
    ),
    "scripts/launch/gce-startup.sh": (
        validators.shell,
        {
            '"${unit[@]}"': "${unit[@]}",
            "code=0": "code = 0",
            '"$DISK" /dev/zero': "$DISK /dev/zero",
        },
    ),
    "scripts/launch/aws-create.sh": (
        validators.shell,
        {'--image-id "$IMAGE"': "--image-id $IMAGE", "${GROUP:?": "$(GROUP:?"},
    ),
    "scripts/launch/slurm.sbatch": (
        validators.shell,
        {
            'exec "$PROGRAM/venv/bin/ckptkit"': "exec $PROGRAM/venv/bin/ckptkit",
            '"$RUNS/digits"': "$RUNS/digits",
        },
    ),
    "configs/kubernetes-job.yaml": (
        validators.kubernetes,
        {
            "backoffLimit": "backofLimit",
            "containerName: train\n": "containerName: train\n          more: 1\n",
            "values: [75]": 'values: ["75"]',
            "claimName": "claim",
            "restartPolicy: Never": "restartPolicy: [Never]",
            "mountPath: /runs": "mountPath: /runs\n          mountPath: /run",
        },
    ),
    "configs/Dockerfile": (
        validators.dockerfile,
        {
            "python:3.12-slim-bookworm": "python",
            "tini=0.19.0-*": "tini",
            "USER 10001:10001": "USER root",
            '["python", "train.py"': '"python", "train.py"',
            "WORKDIR /app": "WORKDIR app",
        },
    ),
    "configs/aws-user-data.yaml": (
        validators.cloud_config,
        {
            "KillMode=mixed": "KillMode=gentle",
            "RestartSec=30": "RestartSecs=30",
            "OOMPolicy=continue": "OOMPolicy=go on",
            "ExecStart=/opt": "ExecStart=opt",
            "[Service]": "[Servise]",
            "runcmd:\n": "runcmd:\n- mount -a\n",
            "#cloud-config": "# cloud-config",
            "User=trainer": "User=trainer\n      What is this",
        },
    ),
}
BROKEN = [
    (name, old, new) for name, (_, changes) in TEMPLATES.items() for old, new in changes.items()
]
TRAINING = re.compile(r"ckptkit\"? run (?P<options>.*?)-- +(?:\\\n)?(?P<command>.*)")


def text(name: str) -> str:
    return (ROOT / name).read_text()


def test_every_template_is_here():
    there = {
        *(ROOT / "scripts" / "launch").iterdir(),
        *(path for path in (ROOT / "configs").iterdir() if path.suffix not in (".toml", ".md")),
    }
    assert {str(path.relative_to(ROOT)) for path in there} == TEMPLATES.keys()


@pytest.mark.parametrize("name", TEMPLATES)
def test_it_passes_its_validator(name, tmp_path):
    assert TEMPLATES[name][0](text(name), tmp_path) == ""


@pytest.mark.parametrize(
    ("name", "old", "new"),
    BROKEN,
    ids=[f"{Path(name).name}-{old.split()[0]}" for name, old, _ in BROKEN],
)
def test_its_validator_finds_what_is_broken(name, old, new, tmp_path):
    sound = text(name)
    assert old in sound
    assert TEMPLATES[name][0](sound.replace(old, new, 1), tmp_path) != ""


def kubernetes() -> tuple[dict, dict]:
    """The claim and the job."""
    claim, job = yaml.safe_load_all(text("configs/kubernetes-job.yaml"))
    return claim, job


def aws() -> tuple[dict, str]:
    """The user data, and its unit."""
    data = yaml.safe_load(text("configs/aws-user-data.yaml"))
    return data, data["write_files"][0]["content"]


def test_kubernetes_by_what_an_exit_code_means():
    """The validator knows types, and not what words may stand there."""
    _, job = kubernetes()
    container = job["spec"]["template"]["spec"]["containers"][0]["name"]
    rules = job["spec"]["podFailurePolicy"]["rules"]
    exits = [(rule["action"], rule["onExitCodes"]) for rule in rules if "onExitCodes" in rule]
    assert {code: action for action, exit_ in exits for code in exit_["values"]} == {
        75: "Ignore",
        78: "FailJob",
        93: "FailJob",
    }
    assert all(
        (exit_["operator"], exit_["containerName"]) == ("In", container) for _, exit_ in exits
    )
    assert [
        rule["action"]
        for rule in rules
        if {"type": "DisruptionTarget", "status": "True"} in rule.get("onPodConditions", [])
    ] == ["Ignore"]
    assert job["spec"]["template"]["spec"]["restartPolicy"] == "Never", (
        "a pod failure policy asks for that"
    )


def test_aws_by_what_an_exit_code_means(tmp_path):
    _, unit = aws()
    assert "Restart=on-abnormal\n" in unit
    again = re.search(r"^RestartForceExitStatus=(.*)$", unit, re.MULTILINE)[1].split()
    script = shlex.split(re.search(r"^ExecStopPost=\+/bin/sh -c (.*)$", unit, re.MULTILINE)[1])[0]
    calls = tmp_path / "calls"
    (tmp_path / "systemctl").write_text(f'#!/bin/sh\necho "$EXIT_STATUS $*" >>{calls}\n')
    (tmp_path / "systemctl").chmod(0o755)
    for status in (
        "0",
        "1",
        "2",
        "11",
        "75",
        "78",
        "93",
        "126",
        "127",
        "129",
        "130",
        "203",
        "KILL",
        "SEGV",
    ):
        subprocess.run(
            ["sh", "-c", script],
            env={"PATH": f"{tmp_path}:{os.environ['PATH']}", "EXIT_STATUS": status},
            check=True,
        )
    assert again == ["11", "75"]
    assert calls.read_text().split("\n")[:-1] == [
        f"{status} --no-block poweroff"
        for status in ("0", "1", "2", "78", "93", "126", "127", "129", "130", "203")
    ], "all others start again"


@pytest.mark.parametrize(
    ("code", "state", "ended"),
    [
        (75, "running", False),
        (0, "running", True),
        (2, "degraded", True),
        (1, "stopping", False),
        (255, "stopping", False),
        (0, "no systemd", True),
    ],
)
def test_compute_engine_by_what_an_exit_code_means(code, state, ended, tmp_path):
    """From where the start-up script has all in place; while a VM is shut down, a unit that is cut
    off has any code.
    """
    stubs = {
        "venv/bin/ckptkit": f"exit {code}",
        "setpriv": 'shift 3; exec "$@"',
        "at-end": f"touch {tmp_path}/ended",
    }
    stubs |= (
        {}
        if state == "no systemd"
        else {"systemctl": f'[ "$*" = is-system-running ] && echo {state}; exit 1'}
    )
    for name, body in stubs.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"#!/bin/sh\n{body}\n")
        path.chmod(0o755)
    script = text("scripts/launch/gce-startup.sh")
    script = "set -euo pipefail\n" + script[script.index("read -ra unit") :]
    known = {
        "UNIT": "env",
        "PROGRAM": tmp_path,
        "RUNS": tmp_path,
        "ACCOUNT": "me",
        "AT_END": "at-end",
        "PATH": f"{tmp_path}:/usr/bin:/bin",
    }
    done = subprocess.run(
        ["bash", "-c", script], env={name: str(value) for name, value in known.items()}, check=False
    )
    assert (done.returncode, (tmp_path / "ended").exists()) == (code, ended)


def test_systemd_leaves_what_runs_out_of_memory_to_the_launcher():
    """Its default ends the whole unit: the launcher would take that for a machine that goes away,
    and never count it.
    """
    assert "OOMPolicy=continue\n" in aws()[1]
    assert "--property=OOMPolicy=continue" in text("scripts/launch/gce-startup.sh")


@pytest.mark.parametrize("name", ["scripts/launch/gce-startup.sh", "scripts/launch/slurm.sbatch"])
def test_the_run_is_on_what_is_mounted(name):
    assert TRAINING.search(text(name))["command"].split("--run ")[1].startswith('"$RUNS/')


def test_the_run_is_on_what_is_mounted_elsewhere():
    data, unit = aws()
    assert data["mounts"][0][1] == "/runs"
    assert "RequiresMountsFor=/runs\n" in unit
    assert "--run /runs/" in TRAINING.search(unit)["command"]
    claim, job = kubernetes()
    pod = job["spec"]["template"]["spec"]
    (mount,), (volume,) = pod["containers"][0]["volumeMounts"], pod["volumes"]
    assert (mount["name"], mount["mountPath"], volume["persistentVolumeClaim"]["claimName"]) == (
        volume["name"],
        "/runs",
        claim["metadata"]["name"],
    )
    assert pod["containers"][0]["args"][-1].startswith("/runs/")
    assert "auto-delete=never" in text("scripts/launch/gce-create.sh")
    assert "VOLUME /runs\n" in text("configs/Dockerfile")


@pytest.mark.parametrize(
    "name",
    [
        "scripts/launch/gce-startup.sh",
        "scripts/launch/slurm.sbatch",
        "configs/aws-user-data.yaml",
        "configs/kubernetes-job.yaml",
        "configs/Dockerfile",
    ],
)
def test_the_launcher_knows_the_run_before_it_starts_anything(name):
    """Its counts are durable by then, also if the training is killed before it opens its run."""
    options = [word for word in shlex.split(commands()[name]) if word.startswith("--run=")]
    if name == "configs/Dockerfile":
        training = shlex.join(
            yaml.safe_load(re.search(r"^CMD (\[.*\])$", text(name), re.MULTILINE)[1])
        )
    elif name.endswith("job.yaml"):
        _, job = kubernetes()
        training = shlex.join(job["spec"]["template"]["spec"]["containers"][0]["args"])
    else:
        training = TRAINING.search(aws()[1] if name.endswith("data.yaml") else text(name))[
            "command"
        ]
    words = shlex.split(training.partition(" ||")[0])
    assert options == [f"--run={words[words.index('--run') + 1]}"]


def test_nobody_trains_as_root():
    _, job = kubernetes()
    assert job["spec"]["template"]["spec"]["securityContext"]["runAsNonRoot"] is True
    user = re.search(r"^USER (\d+):", text("configs/Dockerfile"), re.MULTILINE)[1]
    assert job["spec"]["template"]["spec"]["securityContext"]["runAsUser"] == int(user) > 0
    data, unit = aws()
    assert f"User={data['users'][1]['name']}\n" in unit
    assert "setpriv --reuid" in text("scripts/launch/gce-startup.sh")


def test_slurm_is_asked_for_a_signal_and_for_a_requeue():
    lines = text("scripts/launch/slurm.sbatch").splitlines()
    asked = [
        shlex.split(line.removeprefix("#SBATCH"))[0] for line in lines if line.startswith("#SBATCH")
    ]
    assert {"--requeue", "--signal=B:USR1@120", "--open-mode=append"} <= {*asked}
    first = next(number for number, line in enumerate(lines) if line and not line.startswith("#"))
    assert not any(line.startswith("#SBATCH") for line in lines[first:]), (
        "sbatch does not look below the first command"
    )


def commands() -> dict[str, str]:
    """The launcher's command line in each template."""
    _, job = kubernetes()
    container = job["spec"]["template"]["spec"]["containers"][0]
    entry = re.search(r"^ENTRYPOINT (\[.*\])$", text("configs/Dockerfile"), re.MULTILINE)[1]
    found = {
        name: TRAINING.search(text(name))
        for name in ("scripts/launch/gce-startup.sh", "scripts/launch/slurm.sbatch")
    }
    found["configs/aws-user-data.yaml"] = TRAINING.search(aws()[1])
    lines = {name: f"ckptkit run {line['options']}" for name, line in found.items()}
    return lines | {
        "configs/kubernetes-job.yaml": shlex.join(container["command"]),
        "configs/Dockerfile": shlex.join(yaml.safe_load(entry)),
    }


@pytest.mark.parametrize("name", [name for name in TEMPLATES if not name.endswith("create.sh")])
def test_the_launcher_takes_what_it_is_told(name, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    _, line = commands()[name].split("ckptkit run ", 1)
    options = [word for word in shlex.split(line) if word != "--"]
    assert options
    assert cli(["run", "--explain", *options]) == 0
    explained = capsys.readouterr().out
    for option in options:
        assert re.search(
            rf"{option.removeprefix('--').split('=')[0].replace('-', '_')} .*command line",
            explained,
        ), explained
