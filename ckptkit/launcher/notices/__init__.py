"""Knowing before the training does that the machine will go away: one file for each cloud.

A notice is a bonus and sometimes never comes; nothing that goes wrong here stops a training.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Mapping
from pathlib import Path

from ckptkit.clock import Clock, SystemClock
from ckptkit.errors import ConfigError
from ckptkit.launcher.notices.aws import Aws
from ckptkit.launcher.notices.azure import Azure
from ckptkit.launcher.notices.cloud_detection import DMI, cloud_here
from ckptkit.launcher.notices.gce import Gce
from ckptkit.launcher.notices.notice import Notice
from ckptkit.launcher.notices.notice_file import File
from ckptkit.launcher.notices.polling import NoticeSource, follow
from ckptkit.log import logger

__all__ = ["Notice", "check_kind", "watch"]

_KINDS = ("auto", "gce", "aws", "azure", "off")


def check_kind(kind: str) -> None:
    """Whether there is such a source of notices.

    Args:
        kind: "auto", "gce", "aws", "azure", "file:PATH" or "off".

    Raises:
        ConfigError: where there is none.
    """
    if kind not in _KINDS and not (kind.startswith("file:") and len(kind) > len("file:")):
        raise ConfigError(
            f"notices is one of {', '.join(_KINDS)}, or file:PATH. Received: {kind!r}."
        )


def watch(
    kind: str,
    tell: Callable[[Notice], None],
    stop: threading.Event,
    *,
    environ: Mapping[str, str] = os.environ,
    dmi: Path = DMI,
    clock: Clock | None = None,
) -> threading.Thread:
    """Watches for notices on a thread of its own, which does not keep the process alive.

    Args:
        kind: "gce", "aws", "azure"; "auto" for the one of these that the machine's firmware names,
            if any; "file:PATH" for a file that appears; or "off".
        tell: is called on that thread: once for each notice, and once more where it is cancelled.
        stop: ends the watching. A request that waits at a server is not broken off.
        environ: for the servers' addresses: `GCE_METADATA_HOST`,
            `AWS_EC2_METADATA_SERVICE_ENDPOINT`, `AZURE_IMDS_ENDPOINT`.
        dmi: where the kernel shows what the firmware says.
        clock: for servers that tell no time.

    Returns:
        The thread, started; one that has nothing to do ends at once.

    Raises:
        ConfigError: where there is no such kind.
    """
    check_kind(kind)
    source = _source(kind, environ, dmi, clock or SystemClock())
    thread = threading.Thread(
        target=_watch, args=(source, tell, stop), name="ckptkit-notices", daemon=True
    )
    thread.start()
    return thread


def _watch(
    source: NoticeSource | None, tell: Callable[[Notice], None], stop: threading.Event
) -> None:
    if source is not None:
        follow(source, tell, stop)


def _source(kind: str, environ: Mapping[str, str], dmi: Path, clock: Clock) -> NoticeSource | None:
    if kind == "auto":
        kind = cloud_here(dmi) or "off"
        logger.info(
            "notices: %s",
            "no cloud is known here" if kind == "off" else f"this machine is of {kind}",
        )
    match kind:
        case "gce":
            return Gce(environ)
        case "aws":
            return Aws(environ, clock)
        case "azure":
            return Azure(environ, clock)
        case "off":
            return None
        case _:
            return File(Path(kind.removeprefix("file:")))
