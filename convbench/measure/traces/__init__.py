"""Traces of single cases: taken, read, and summed up by operator and stage.

``capture`` is the probe that takes one; ``trace`` reads a file of any torch version; ``operators`` sums it up;
``modules`` leaves the machine's paths out. ``core.profiles`` knows where a run keeps them, ``report.viewers`` serves
them.
"""
