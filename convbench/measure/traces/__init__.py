"""Traces of single cases: taken, read, summed up by operator and stage, and handed to the viewers people know.

``capture`` is the probe that takes one; ``trace`` reads a file of any torch version; ``operators`` sums it up;
``places`` says where a run keeps them; ``perfetto`` and ``tensorboard`` serve them. A trace is
named ``<worker>.<ns>.pt.trace.json.gz``.
"""
