"""Parses the URL of a run on an object store."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from ckptkit.errors import ConfigError
from ckptkit.layout import expanded_url

SCHEMES = {"s3": "s3", "gs": "gcs", "az": "azure"}
"""The schemes, and the extra of ckptkit that installs the client for each."""

_URL = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://([^/]*)/?(.*)", re.DOTALL)
_BUCKET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{1,221}")
_PART = re.compile(r"[A-Za-z0-9_.=@+,-]+")


@dataclass(frozen=True)
class StoreUrl:
    """A place on an object store.

    Args:
        scheme: `s3`, `gs` or `az`.
        bucket: the bucket, or the container.
        prefix: what the keys begin with, without slashes at its ends.
    """

    scheme: str
    bucket: str
    prefix: str

    def __str__(self) -> str:
        return f"{self.scheme}://{self.bucket}/{self.prefix}"


def parse_store_url(url: Any) -> StoreUrl:
    """Return the parts of a URL such as `s3://bucket/runs/x`; variables in it are replaced.

    Raises:
        ConfigError: If it is not such a URL. The message does not repeat a URL with a password.
    """
    form = "s3://bucket/runs/x, gs://bucket/runs/x or az://container/runs/x"
    text = expanded_url(url) if isinstance(url, str) else ""
    match = _URL.fullmatch(text)
    if match is None:
        raise ConfigError(
            f"Expected the URL of a place on an object store, such as {form}. Received: {url!r}."
        )
    scheme, bucket, prefix = match[1].lower(), match[2], match[3].strip("/")
    if "@" in bucket or "?" in text or "#" in text:
        raise ConfigError(
            f"Expected a URL without user, password or query, such as {form}. Credentials come "
            "from the environment, from the machine's role, or from Mirror(url, options={...}). "
            f"Received a {scheme}:// URL with more in it, which is not repeated here."
        )
    if scheme not in SCHEMES:
        raise ConfigError(
            f"Expected a URL of a known object store: {form}. Received the scheme {scheme!r} in "
            f"{text!r}."
        )
    if not _BUCKET.fullmatch(bucket):
        raise ConfigError(f"Expected the name of a bucket after {scheme}://. Received: {text!r}.")
    if not prefix:
        raise ConfigError(
            f"Expected a place inside the bucket for this run alone, such as "
            f"{scheme}://{bucket}/runs/x. Received: {text!r}."
        )
    for part in prefix.split("/"):
        if not _PART.fullmatch(part) or part in (".", ".."):
            raise ConfigError(
                "Expected letters, digits and _ . = @ + , - in each part of the URL's path. "
                f"Received: {part!r} in {text!r}."
            )
    return StoreUrl(scheme, bucket, prefix)
