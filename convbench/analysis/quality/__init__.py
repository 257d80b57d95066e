"""Summarise what was learned: training runs by configuration, their spread over seeds, and how they compare.

``lessons`` reads each training, ``qualities`` groups them by configuration and task, ``standing`` compares these
groups, and ``controls`` collects the runs that tell whether a task needs what it claims to need.
"""
