"""Exports, one per file: each is a function (run, records) -> the content of a JSON file that another tool reads.

To add one, register a function of a run's description and its records. It returns an empty list or object for a run
that has nothing that fits the format. Exports only describe: ``convbench check`` decides whether something became
slower.
"""
