"""Turn cases into records on disk.

1. ``sweep`` plans a suite's cases, hands them to an executor as jobs and stores each record before the next.
2. An executor (contract: ``executor``; shelf: ``plugins.executors``) describes its hosts and measures on them.
3. ``processes`` starts a fresh process for each call from a server that has imported torch (``forkserver_imports``).
"""
