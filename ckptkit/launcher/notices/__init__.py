"""Notices that the machine will go away: one file for each source, listed in `SOURCES`.

A notice may never come, and no failure here stops a training.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Mapping
from pathlib import Path

from ckptkit.clock import Clock, SystemClock
from ckptkit.errors import ConfigError
from ckptkit.launcher.launcher_threads import start_or_warn
from ckptkit.launcher.notices.aws import Aws
from ckptkit.launcher.notices.azure import Azure
from ckptkit.launcher.notices.firmware import DMI, Firmware, read_firmware
from ckptkit.launcher.notices.gce import Gce
from ckptkit.launcher.notices.notice import Notice
from ckptkit.launcher.notices.notice_file import File
from ckptkit.launcher.notices.polling import NoticeSource, follow
from ckptkit.log import logger

__all__ = ["SOURCES", "Notice", "check_kind", "cloud_of", "watch"]

SOURCES: Mapping[str, type[Gce] | type[Aws] | type[Azure]] = {
    source.name: source for source in (Gce, Aws, Azure)
}
"""The classes of all clouds, by name.

To support another cloud, write a file for it and add its class here. A class has `name`,
`pause_secs`, `is_here(firmware)` and `look()`. Its constructor takes the environment and a clock.
"""

_FILE = "file:"


def check_kind(kind: str) -> None:
    """Check that a source of notices exists.

    Args:
        kind: "auto", a name in `SOURCES`, "file:PATH" or "off".

    Raises:
        ConfigError: If it does not exist.
    """
    kinds = ("auto", *SOURCES, "off")
    if kind not in kinds and not (kind.startswith(_FILE) and len(kind) > len(_FILE)):
        raise ConfigError(
            f"notices is one of {', '.join(kinds)}, or file:PATH. Received: {kind!r}."
        )


def cloud_of(firmware: Firmware) -> str | None:
    """Return the cloud that a machine with this firmware belongs to, or None.

    Example:
        >>> from ckptkit.launcher.notices import cloud_of
        >>> from ckptkit.launcher.notices.firmware import Firmware
        >>> cloud_of(Firmware(sys_vendor="Google", product_name="Google Compute Engine"))
        'gce'
    """
    return next((name for name, source in SOURCES.items() if source.is_here(firmware)), None)


def watch(
    kind: str,
    tell: Callable[[Notice], None],
    stop: threading.Event,
    *,
    environ: Mapping[str, str] = os.environ,
    dmi: Path = DMI,
    clock: Clock | None = None,
) -> threading.Thread | None:
    """Watch for notices on a daemon thread.

    Args:
        kind: a name in `SOURCES`; "auto" for the one that the machine's firmware names, if any;
            "file:PATH" for a file that appears; or "off".
        tell: is called on that thread for each notice, and once more if the notice is cancelled.
        stop: ends the watching once it is set; a request that waits for a server is not
            interrupted.
        environ: the environment, which may change the servers' addresses: `GCE_METADATA_HOST`,
            `AWS_EC2_METADATA_SERVICE_ENDPOINT`, `AZURE_IMDS_ENDPOINT`.
        dmi: the directory in which the kernel shows the firmware's data.
        clock: gives the time if a server sends none.

    Returns:
        The started thread, which ends at once if there is nothing to watch. None if the system
            refuses a thread; training then continues without notices.

    Raises:
        ConfigError: If the kind does not exist.
    """
    check_kind(kind)
    source = _source(kind, environ, dmi, clock or SystemClock())
    return start_or_warn("ckptkit-notices", _watch, source, tell, stop)


def _watch(
    source: NoticeSource | None, tell: Callable[[Notice], None], stop: threading.Event
) -> None:
    if source is not None:
        follow(source, tell, stop)


def _source(kind: str, environ: Mapping[str, str], dmi: Path, clock: Clock) -> NoticeSource | None:
    if kind == "auto":
        kind = cloud_of(read_firmware(dmi)) or "off"
        logger.info(
            "notices: %s",
            "no known cloud was recognised" if kind == "off" else f"this machine is of {kind}",
        )
    if kind == "off":
        return None
    if kind.startswith(_FILE):
        return File(Path(kind.removeprefix(_FILE)))
    return SOURCES[kind](environ, clock)
