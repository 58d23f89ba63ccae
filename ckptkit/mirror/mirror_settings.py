"""The public `Mirror`: where a run is copied to, and how."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ckptkit.errors import ConfigError
from ckptkit.layout import url_of
from ckptkit.mirror.store_claim import LEASE_SECS
from ckptkit.mirror.store_url import SCHEMES, StoreUrl, parse_store_url
from ckptkit.policies import KeepPolicy


@dataclass(frozen=True)
class Mirror:
    """A copy of a run on an object store, made behind training.

    Checkpoints are uploaded after they are committed in the run directory. On a machine with an
    empty directory, a start fetches the newest one before it opens the run.

    Args:
        url: `s3://bucket/runs/x`, `gs://bucket/runs/x` or `az://container/runs/x`. The place must
            be empty or belong to this run.
        keep: which checkpoints stay on the store; by default the keep policy of the run.
        required: whether the end of training raises an error if the newest checkpoint could not be
            uploaded; if not, that is a warning.
        takeover_secs: after how many seconds without a sign of life of the owner another machine
            may take the run over, at least 1.
        versioned: whether the bucket may keep versions of deleted objects. By default that is an
            error, because deleted checkpoints would then take space for ever.
        options: settings of the client, such as `{"region": "eu-west-1"}` or
            `{"endpoint": "https://..."}`; see the documentation of obstore. By default everything
            comes from the environment and the machine's role. They are never logged.

    Raises:
        ConfigError: If an argument is invalid.

    Example:
        >>> import ckptkit
        >>> ckptkit.Mirror("s3://bucket/runs/digits").url
        's3://bucket/runs/digits'
    """

    url: str
    keep: KeepPolicy | None = None
    required: bool = True
    takeover_secs: float = LEASE_SECS
    versioned: bool = False
    options: Mapping[str, Any] = field(default_factory=dict, repr=False, compare=False)

    def __post_init__(self) -> None:
        parse_store_url(self.url)
        if self.keep is not None and not isinstance(self.keep, KeepPolicy):
            raise ConfigError(
                f"keep is a policy, such as ckptkit.KeepLatest(2). Received: keep={self.keep!r}."
            )
        secs = self.takeover_secs
        if isinstance(secs, bool) or not isinstance(secs, int | float) or not 1 <= secs <= 86400:
            raise ConfigError(
                "takeover_secs is a number of seconds from 1 to 86400. Received: "
                f"takeover_secs={secs!r}."
            )
        if not isinstance(self.options, Mapping):
            raise ConfigError(
                "options are settings of the client by name. Received a "
                f"{type(self.options).__name__}."
            )

    @property
    def place(self) -> StoreUrl:
        """The parsed URL."""
        return parse_store_url(self.url)


def mirror_in_place(directory: Any) -> Mirror | None:
    """Return the mirror of a run that is named by the URL of a store, or None for a directory.

    Raises:
        ConfigError: If it is the URL of a store, and invalid.
    """
    if isinstance(directory, str) and (url := url_of(directory)) is not None:
        scheme = url.partition("://")[0].lower()
        return Mirror(directory) if scheme in SCHEMES else None
    return None


def cache_directory(place: StoreUrl, environment: Mapping[str, str]) -> Path:
    """Return the local directory of a run that is named by a URL.

    It is below `CKPTKIT_CACHE`, or below the user's directory for caches. Its name has a digest of
    the URL, so two runs never share it.

    Args:
        place: the place on the store.
        environment: the environment variables.
    """
    base = environment.get("CKPTKIT_CACHE") or (
        (environment.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")) + "/ckptkit"
    )
    digest = hashlib.sha256(str(place).encode()).hexdigest()[:16]
    return Path(base) / f"{place.prefix.rpartition('/')[2]}-{digest}"


def check_mirror(mirror: Any) -> Mirror | None:
    """Return the mirror that a user has given, as a URL or as a `Mirror`.

    Raises:
        ConfigError: If it is neither.
    """
    if mirror is None or isinstance(mirror, Mirror):
        return mirror
    if isinstance(mirror, str):
        return Mirror(mirror)
    raise ConfigError(
        "mirror is the URL of a place on an object store, or a ckptkit.Mirror. Received a "
        f"{type(mirror).__name__}."
    )
