"""Turn cases into records on disk.

1. ``sweep`` plans a suite's cases, hands them to an executor as jobs and stores each record before the next.
2. An executor (contract: ``executor``; shelf: ``plugins.executors``) describes its hosts and measures on them.
3. ``process`` calls a function in a fresh process of this machine; ``cluster`` hands jobs to workers on many hosts.
"""
