"""Cases become records on disk.

1. ``sweep`` plans a suite's cases and hands them to an executor as jobs, storing each record before the next.
2. An executor (contract: ``executor``; shelf: ``plugins.executors``) says which hosts there are and measures there.
3. ``processes`` starts a fresh process for each call from a server that has torch imported (``forkserver_imports``).
"""
