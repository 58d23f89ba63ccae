"""Encodes values as JSON in UTF-8, also text that is not valid Unicode."""

from __future__ import annotations

from typing import Any

import msgspec


def json_bytes(value: Any) -> bytes:
    r"""Return a value as JSON in UTF-8.

    A name of a file may be any bytes, and JSON holds UTF-8 only. Bytes that are none
    (`os.fsdecode` gives lone surrogates) are written as text, like `\udcff`: what describes a run
    must not fail over the name of its directory.

    Args:
        value: what msgspec can encode.
    """
    try:
        return msgspec.json.encode(value)
    except UnicodeEncodeError:
        return msgspec.json.encode(_in_utf8(msgspec.to_builtins(value)))


def _in_utf8(value: Any) -> Any:
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode()
    if isinstance(value, dict):
        return {_in_utf8(name): _in_utf8(each) for name, each in value.items()}
    return [_in_utf8(each) for each in value] if isinstance(value, list | tuple) else value
