"""The shelf of executors: who measures a sweep's jobs, and where. One file per executor.

To add one, register a class that is a ``runs.executor.Executor``: it says which hosts there are, measures the jobs it
is handed and gives each back with its record.
"""
