"""Describes what a worker is about to train, so that all workers of a job can compare it."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

import xxhash

from ckptkit.run.library_versions import versions
from ckptkit.session.options import RunOptions
from ckptkit.tracking import hyperparameters
from ckptkit.tracking.snapshot import describe_leaves
from ckptkit.tracking.tracker import track

_ADDRESS = re.compile(r" at 0x[0-9a-f]+")


def describe_job(options: RunOptions, strategy: Any) -> dict[str, Any]:
    """Describe what this worker is about to train, as values of JSON."""
    configured = hyperparameters.configured_values(options.state)
    given = {name: value for name, (_, _, value) in configured.items()}
    return {
        "addresses of the workers": strategy.cluster_resolver.cluster_spec().as_dict(),
        "name of the run": options.layout.root.name,
        "program": _program(),
        "versions": versions(),
        "options": {
            name: _comparable(getattr(options, name))
            for name in ("save", "keep", "background", "exact", "changed", "fresh")
        },
        "hyperparameters": json.loads(json.dumps(hyperparameters.as_json(given), default=str)),
        "hparams": json.loads(json.dumps(dict(options.hparams), default=str)),
        "variables": {
            each.key: f"{each.path} {each.kind} {each.shape} {each.dtype}"
            for each in describe_leaves(track(options.state).leaves)
        },
    }


def _comparable(option: object) -> str:
    """Return the text of an option that is the same on all workers.

    An object without a text of its own shows its address, which is another one on each worker.
    """
    kind = type(option)
    if kind.__repr__ is object.__repr__ and kind.__str__ is object.__str__:
        return f"{kind.__module__}.{kind.__qualname__}"
    return _ADDRESS.sub("", str(option))


def _program() -> str:
    """Return the name of the program, with a digest of its text."""
    path = getattr(sys.modules.get("__main__"), "__file__", None)
    try:
        text = Path(path).read_bytes() if path else b""
    except OSError:
        text = b""
    return f"{Path(sys.argv[0]).name} (xxh3_64:{xxhash.xxh3_64_hexdigest(text)})"
