"""Executors, one per file: each determines where a sweep's jobs are measured, and measures them.

To add one, register a class derived from ``runs.executor.Executor``: it describes its hosts, measures the jobs that it
is handed and yields each with its record.
"""
