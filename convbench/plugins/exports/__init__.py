"""Exports, one per file: each is a function (run, records) -> the content of a file that another tool reads.

To add one, register a function of a run's description and its records. It returns the content of a JSON file, or the
text or bytes of any other file; empty for a run that has nothing that fits the format. Exports only describe:
``convbench check`` decides whether something became slower.
"""
