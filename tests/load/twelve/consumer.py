"""Somebody who has TensorFlow, ckptkit and an export, and nothing of the code that made it. Reads
one request a line, and answers with one.
"""

from __future__ import annotations

import importlib.util
import json
import sys


def main() -> None:
    """Serves requests until standard input ends."""
    import numpy as np

    import ckptkit

    assert importlib.util.find_spec("tests") is None, "the tests' code can be imported here"
    for line in sys.stdin:
        request = json.loads(line)
        try:
            served = ckptkit.load_exported(request["path"])
            called = served.signatures[request["signature"]] if request["signature"] else served
            with np.load(request["inputs"], allow_pickle=False) as given:
                positional = [given[name] for name in given.files if name.startswith("arg_")]
                named = {
                    name.removeprefix("kw_"): given[name]
                    for name in given.files
                    if name.startswith("kw_")
                }
            returned = called(*positional, **named)
            np.savez(
                request["outputs"], **(returned if isinstance(returned, dict) else {"": returned})
            )
            answer = {"described": repr(served), "signatures": list(served.signatures)}
        except Exception as error:
            answer = {"error": f"{type(error).__name__}: {error}"}
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    sys.path[:0] = sys.argv[1:]
    main()
