"""The shelf of probes: (Subject, Protocol) -> readings and findings. One file per probe.

To add one, register a function that yields readings of metrics it declares beside itself (``core.metric``), and mark it
``@declares(ProbeTraits(...))`` (``measure.probes``) with its order and what else it is. CSV, tables, page and budgets
then have it.
"""
