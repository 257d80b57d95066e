"""Take, read and sum up traces of single cases, by operator and stage.

``capture`` is the probe that takes a trace; ``trace`` reads a file of any torch version and removes the machine's
paths; ``operators`` sums it up. ``core.storage.profiles`` knows where a run keeps traces, and ``report.viewers`` serves
them.
"""
