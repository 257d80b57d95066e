"""Quality: what an architecture can learn of a task, and what its untrained features already tell.

``data`` is what a task returns, ``controls`` take something away from it, ``fit`` trains, ``linear`` reads a frozen
backbone, and ``trial`` turns either into a Record's readings.
"""
