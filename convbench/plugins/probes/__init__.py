"""Probes, one per file: each is a function (Subject, Protocol) -> readings and findings.

To add one, register a function that yields readings of metrics, which it declares in the same file (``core.metric``).
Mark it ``@declares(ProbeTraits(...))`` (``measure.probes``) with its order and its other traits. CSV, tables, page and
budgets then include its metrics.
"""
