"""``python -m convbench``: nothing of the working directory is imported that is named like the standard library."""

import sys

if not sys.flags.safe_path:
    del sys.path[0]

from convbench.cli import main

if __name__ == "__main__":
    main()
