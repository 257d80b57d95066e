"""The command line: one file per group of verbs, the only place that prints to the terminal and exits.

What is slow to import is imported by the verb that needs it, so that ``convbench --help`` is instant.
"""

from convbench.cli import (  # noqa: F401  (importing them registers their verbs)
    checking,
    exporting,
    profiling,
    reporting,
    running,
    selftesting,
    shelves,
    stored,
)
from convbench.cli.app import main

__all__ = ["main"]
