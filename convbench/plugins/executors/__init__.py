"""Executors, one per file: they measure a sweep's jobs, each in its own place.

To add one, register a class derived from ``runs.executor.Executor``: it describes its hosts, measures the jobs that it
is handed and yields each with its record.
"""
