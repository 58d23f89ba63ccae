"""What TensorBoard shows: the steps of each scalar in order, by each of its loaders."""

from __future__ import annotations

import json
import subprocess
import time
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

Shown = dict[str, list[int]]
"""Steps by `run/tag`."""


def multiplexer(logs: Path) -> Shown:
    """The loader in Python."""
    from tensorboard.backend.event_processing import (
        plugin_event_accumulator,
        plugin_event_multiplexer,
    )

    loader = plugin_event_multiplexer.EventMultiplexer(
        size_guidance={plugin_event_accumulator.TENSORS: 0}, tensor_size_guidance={"scalars": 0}
    )
    loader.AddRunsFromDirectory(str(logs))
    loader.Reload()
    return {
        f"{run}/{tag}": [int(event.step) for event in loader.Tensors(run, tag)]
        for run in loader.Runs()
        for tag in loader.PluginRunToTagToContent("scalars").get(run, {})
    }


@contextmanager
def data_server(logs: Path) -> Iterator[Callable[[], Shown]]:
    """The default one, a program of its own; what is given asks it."""
    import tensorboard_data_server
    from tensorboard import context
    from tensorboard.data.server_ingester import ExistingServerDataIngester
    from tensorboard.util.grpc_util import ChannelCredsType

    port = logs.parent / "port"
    port.unlink(missing_ok=True)
    command = [
        tensorboard_data_server.server_binary(),
        f"--logdir={logs}",
        "--reload=1",
        "--port=0",
        f"--port-file={port}",
        "--die-after-stdin",
        "--samples-per-plugin=scalars=all",
    ]
    with subprocess.Popen(command, stdin=subprocess.PIPE) as server:
        try:
            number = _wait(lambda: port.read_text().strip() if port.exists() else "")
            provider = ExistingServerDataIngester(
                f"localhost:{number}", channel_creds_type=ChannelCredsType.LOCAL
            ).data_provider

            def read() -> Shown:
                found = provider.read_scalars(
                    context.RequestContext(),
                    experiment_id="",
                    plugin_name="scalars",
                    downsample=1_000_000,
                )
                return {
                    f"{run}/{tag}": [int(each.step) for each in values]
                    for run, tags in found.items()
                    for tag, values in tags.items()
                }

            yield read
        finally:
            server.kill()


class Served:
    """A TensorBoard that is running.

    Args:
        address: its own.
    """

    def __init__(self, address: str) -> None:
        self._address = address

    def get(self, path: str, **query: str) -> Any:
        with urllib.request.urlopen(
            f"{self._address}{path}?{urllib.parse.urlencode(query)}", timeout=30
        ) as answer:
            return json.load(answer)

    def scalars(self) -> Shown:
        tags = self.get("data/plugin/scalars/tags")
        return {
            f"{run}/{tag}": [
                int(step)
                for _, step, _ in self.get("data/plugin/scalars/scalars", run=run, tag=tag)
            ]
            for run, of_run in tags.items()
            for tag in of_run
        }


def settled(read: Callable[[], Shown], expected: Shown, secs: float = 30.0) -> Shown:
    """What is shown when it is as expected, or when there is no hope any more; other tags than the
    expected ones are left out.
    """
    until = time.monotonic() + secs
    while (
        shown := {tag: steps for tag, steps in read().items() if tag in expected}
    ) != expected and time.monotonic() < until:
        time.sleep(0.2)
    return shown


def _wait(look: Callable[[], str], secs: float = 60.0) -> str:
    until = time.monotonic() + secs
    while not (found := look()):
        assert time.monotonic() < until, "the server has not started"
        time.sleep(0.02)
    return found
