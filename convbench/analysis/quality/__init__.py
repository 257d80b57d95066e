"""What was learned: training runs by configuration, their spread over seeds, and what they may be called.

``lessons`` reads each training, ``qualities`` gathers them by configuration and task, ``standing`` compares those,
``controls`` says whether a task needs what it claims to.
"""
