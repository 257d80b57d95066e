"""Quality: what an architecture can learn of a task, and what its untrained features already tell.

``data`` is what a task hands over, ``controls`` what is taken from it, ``fit`` trains, ``linear`` reads a frozen
backbone, ``trial`` makes a Record's readings of either.
"""
