"""Many stored runs become answers to "when did it change?": series, their steps and drift, and what was confirmed.

1. ``numbers`` reads a run for the index (``core.index``); ``series`` lays the numbers of a case out in order.
2. ``steps`` finds where a series changes: pure functions on arrays.
3. ``course`` says it of a series in terms of runs and commits; ``overview`` of all of them.
"""
