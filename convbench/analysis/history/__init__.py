"""Answer "when did it change?" from many stored runs: series, their steps and drift, and confirmed changes.

1. ``numbers`` reads a run for the index (``core.storage.index``); ``series`` puts the numbers of a case in order.
2. ``steps`` finds where a series changes, by pure functions on arrays.
3. ``course`` describes the changes of one series by runs and commits, ``overview`` those of all series.
"""
