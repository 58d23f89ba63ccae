"""`python -m ckptkit` runs the `ckptkit` command."""

import sys

from ckptkit.cli import main

if __name__ == "__main__":
    sys.exit(main())
