"""Object stores on loopback; each ends by its own process id."""

from __future__ import annotations

import base64
import email.utils
import hashlib
import hmac
import json
import os
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests.support.polling import until

BUCKET = "bkt"
SECRET = "a-secret-that-nobody-may-see"


@dataclass(frozen=True)
class StoreServer:
    """A server that listens.

    Args:
        scheme: of its URLs.
        env: the environment with which a program finds it, with credentials.
        port: where it listens.
        process: the server.
        options: what `Mirror(options=...)` needs if the environment does not have it.
    """

    scheme: str
    env: dict[str, str]
    port: int
    process: subprocess.Popen[bytes]
    options: dict[str, object] = field(default_factory=dict)

    def url(self, prefix: str) -> str:
        return f"{self.scheme}://{BUCKET}/{prefix}"


def free_port() -> int:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        port: int = listening.getsockname()[1]
        return port


def is_listening(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
    except OSError:
        return False
    return True


@contextmanager
def started(
    arguments: list[str], port: int, log: Path, env: dict[str, str] | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    """Start a server, and end it with the block."""
    with log.open("wb") as output:
        process = subprocess.Popen(
            arguments,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env={**os.environ, **(env or {})},
        )

    def listens() -> bool:
        assert process.poll() is None, log.read_text()
        return is_listening(port)

    try:
        until(listens, 120)
        yield process
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def s3_env(port: int) -> dict[str, str]:
    return {
        "AWS_ENDPOINT": f"http://127.0.0.1:{port}",
        "AWS_ALLOW_HTTP": "true",
        "AWS_REGION": "us-east-1",
        "AWS_ACCESS_KEY_ID": "somebody",
        "AWS_SECRET_ACCESS_KEY": SECRET,
    }


@contextmanager
def s3_server(directory: Path, env: dict[str, str] | None = None) -> Iterator[StoreServer]:
    """Moto's server, which speaks S3, with an empty bucket.

    Args:
        directory: for its log.
        env: settings of moto.
    """
    port = free_port()
    arguments = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    with started(arguments, port, directory / "moto.log", env) as process:
        # Moto does not check signatures; a header that names the service is enough.
        request = urllib.request.Request(f"http://127.0.0.1:{port}/{BUCKET}", method="PUT")
        urllib.request.urlopen(request, timeout=60).close()
        yield StoreServer("s3", s3_env(port), port, process)


@contextmanager
def environment(changes: dict[str, str]) -> Iterator[None]:
    """Set variables of this process for the block."""
    before = {name: os.environ.get(name) for name in changes}
    os.environ.update(changes)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


@contextmanager
def gcs_server(
    directory: Path, unavailable: float = 0.0, lost: float = 0.0, seed: int = 0
) -> Iterator[StoreServer]:
    """The stub of Google Cloud Storage, with faults; see `gcs_stub.py`."""
    port = free_port()
    program = str(Path(__file__).with_name("gcs_stub.py"))
    arguments = [sys.executable, program, str(port), str(unavailable), str(lost), str(seed)]
    account = {
        "gcs_base_url": f"http://127.0.0.1:{port}",
        "disable_oauth": True,
        "client_email": "",
        "private_key": "",
        "private_key_id": "",
    }
    options: dict[str, object] = {
        "service_account_key": json.dumps(account),
        "client_options": {"allow_http": True},
    }
    env = {"MIRROR_OPTIONS": json.dumps(options)}
    with started(arguments, port, directory / "gcs.log") as process:
        yield StoreServer("gs", env, port, process, options)


AZURITE_ACCOUNT = "devstoreaccount1"
AZURITE_KEY = (
    "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
)
"""The account of the emulator, which its documentation publishes."""


def install_azurite(directory: Path) -> Path:
    """Install the emulator of Azure from npm; return its program."""
    subprocess.run(
        ["npm", "install", "--no-audit", "--no-fund", "azurite@3"],
        cwd=directory,
        check=True,
        stdout=subprocess.DEVNULL,
        timeout=500,
    )
    return directory / "node_modules" / "azurite" / "dist" / "src" / "blob" / "main.js"


@contextmanager
def azure_server(directory: Path, program: Path) -> Iterator[StoreServer]:
    """Azurite, the emulator of Azure Blob Storage, with an empty container."""
    port = free_port()
    arguments = ["node", str(program), "--blobHost", "127.0.0.1", "--blobPort", str(port)]
    arguments += ["--silent", "--skipApiVersionCheck", "--inMemoryPersistence"]
    options: dict[str, object] = {
        "account_name": AZURITE_ACCOUNT,
        "account_key": AZURITE_KEY,
        "endpoint": f"http://127.0.0.1:{port}/{AZURITE_ACCOUNT}",
        "client_options": {"allow_http": True},
    }
    env = {"MIRROR_OPTIONS": json.dumps(options)}
    with started(arguments, port, directory / "azurite.log") as process:
        _make_container(port)
        yield StoreServer("az", env, port, process, options)


def _make_container(port: int) -> None:
    """Create the container with a signed request, because the client makes none."""
    date, version = email.utils.formatdate(usegmt=True), "2021-08-06"
    resource = f"/{AZURITE_ACCOUNT}/{AZURITE_ACCOUNT}/{BUCKET}\nrestype:container"
    text = f"PUT{chr(10) * 12}x-ms-date:{date}\nx-ms-version:{version}\n{resource}"
    signed = hmac.new(base64.b64decode(AZURITE_KEY), text.encode(), hashlib.sha256).digest()
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}/{AZURITE_ACCOUNT}/{BUCKET}?restype=container",
        method="PUT",
        headers={
            "x-ms-date": date,
            "x-ms-version": version,
            "Authorization": f"SharedKey {AZURITE_ACCOUNT}:{base64.b64encode(signed).decode()}",
            "Content-Length": "0",
        },
    )
    urllib.request.urlopen(request, timeout=60).close()
