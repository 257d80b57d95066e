"""The shelf of probes: (Subject, Protocol) -> readings and findings. One file per probe.

To add one, register a function that yields readings of metrics it declares beside itself (``core.metric``); mark it
``@static`` (``measure.probes``) where a subject on ``meta`` is enough. CSV, tables, page and budgets then have it.
"""
