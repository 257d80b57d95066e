"""The programs that run in a side's tree, with that side's convbench: the worker, and what it loads by path.

They import no other code of this convbench, so the same program measures both sides. ``convbench.check.link`` starts
the worker.
"""
