"""The program of `tests/campaigns/exact`, with its model on several devices of the processor."""

from __future__ import annotations

import json
import sys
from contextlib import ExitStack
from typing import Any

from tests.campaigns.exact import program
from tests.campaigns.replicas.devices import mirrored


def main(options: dict[str, Any]) -> None:
    """Train under a strategy.

    Args:
        options: those of the program; also `devices`, their number; `in_scope`, whether `fit` is
            called in the scope of the strategy; `distributed`, whether it gets data that the
            program has distributed itself.
    """
    strategy = mirrored(options["devices"])

    def shaped(arguments: dict[str, Any]) -> dict[str, Any]:
        if options.get("distributed"):
            arguments["x"] = strategy.experimental_distribute_dataset(arguments["x"])
        return arguments

    with ExitStack() as stack:
        if options.get("in_scope"):
            stack.enter_context(strategy.scope())
        program.main(options, strategy.scope, shaped)


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
