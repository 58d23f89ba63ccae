"""Object stores on loopback; each ends by its own process id."""

from __future__ import annotations

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
