"""What one adds to, a file each: found by name and imported by nobody.

Every module of a shelf here is imported when the shelf is first asked for something, and registers what it holds with
``convbench.core.registry``. A package of one's own does the same: its modules, named by an entry point in the group
``convbench.plugins`` (or ``convbench --plugins MODULE``), register themselves; a suite may also name a plug-in as
``package.module:attribute``. Keyword-only parameters are options, the docstring's first line is the summary.
"""
