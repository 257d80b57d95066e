"""Read a suite (YAML) into the cases of a sweep and how to measure them; report file, line and column of every mistake.

Never imports torch itself: the packages of the plug-ins are imported when a suite is checked against them. ``layout``
has the keys of a suite and what each may hold, ``matrix`` makes the sweep of them, ``plugs`` reads plug-ins as they are
written.
"""

from convbench.suite.json_schema import schema
from convbench.suite.loading import Suite, from_data, load
from convbench.suite.source import MAX_BYTES, find, shipped_suites

__all__ = ["MAX_BYTES", "Suite", "find", "from_data", "load", "schema", "shipped_suites"]
