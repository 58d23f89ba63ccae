"""`ckptkit show` for models and weights outside of a run."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from ckptkit.cli.console import print_json, print_line, print_table
from ckptkit.cli.plain_text import count, plain
from ckptkit.cli.value_text import shape_words
from ckptkit.load.cpu_only import hide_gpus
from ckptkit.log import size

if TYPE_CHECKING:
    from ckptkit.cli.path_target import FileTarget
    from ckptkit.load.model_description import Description


def show(target: FileTarget, *, as_json: bool) -> None:
    """Print the description of a model or of weights.

    Args:
        target: the model or weights.
        as_json: whether to print for programs.

    Raises:
        ConfigError: If a version was named, and the target has no versions.
        CheckpointError: If the target cannot be read.
    """
    hide_gpus()
    from ckptkit.load.model_description import (
        describe,
    )  # imports TensorFlow, which has its own files to be read

    description = describe(target.found, target.version)
    if as_json:
        values = dataclasses.asdict(description)
        # `version` is that of the JSON form, in which `versions` is what wrote the file.
        print_json({"format": str(values.pop("format")), "path": str(values.pop("path")), **values})
    else:
        _print(description)


def _print(description: Description) -> None:
    number = f", version {description.path.name}" if description.published else ""
    print_line(f"{plain(description.path)}: {description.format}{number}")
    print_table(
        ["", ""],
        [
            *(
                [["versions", "  ".join(map(str, description.published))]]
                if description.published
                else []
            ),
            *(
                [["model", f"{description.model}{', compiled' if description.compiled else ''}"]]
                if description.model
                else []
            ),
            *(
                [
                    [
                        "written by",
                        "  ".join(
                            f"{name} {version}" for name, version in description.versions.items()
                        ),
                    ]
                ]
                if description.versions
                else []
            ),
            ["size", size(description.size_bytes)],
        ],
        indent=2,
    )
    for name, signature in description.signatures.items():
        print_line(f"\nsignature {plain(name)}")
        rows = [
            [way.removesuffix("s"), each, shape_words(form["shape"]), form["dtype"]]
            for way in ("inputs", "outputs")
            for each, form in signature[way].items()
        ]
        print_table(["", "name", "shape", "type"], rows, indent=2)
    total = sum(variable.size_bytes for variable in description.variables)
    print_line(f"\n{count(len(description.variables), 'variable')}, {size(total)}")
    rows = [
        [
            each.name,
            shape_words(each.shape),
            each.dtype,
            size(each.size_bytes) if each.size_bytes else "-",
        ]
        for each in description.variables
    ]
    if rows:
        print_table(["name", "shape", "type", "size"], rows, right=["size"], indent=2)
