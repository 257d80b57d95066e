"""YAML -> the cases of a sweep and how to measure them; says file, line and column of every mistake.

Never imports torch itself: the shelves are imported when a suite is checked against them. The keys of a suite and what
each may hold are in ``layout``; how the sweep is made of them in ``matrix``; how plug-ins are written in ``plugs``.
"""

from convbench.suite.json_schema import schema
from convbench.suite.loading import Suite, from_data, load
from convbench.suite.source import MAX_BYTES, find, shipped

__all__ = ["MAX_BYTES", "Suite", "find", "from_data", "load", "schema", "shipped"]
