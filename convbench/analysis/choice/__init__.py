"""The recommendation for a task: the cheapest configuration that is shown to be within a margin of the best.

``candidates`` joins qualities and costs, ``choose`` decides by what ``analysis.inference`` shows of them, ``stability``
asks how often it would decide so again, ``doubts`` says why it is not sure, ``settling`` what would settle it,
``further`` which trainings those are, and ``looks`` at what error they are looked at again.
"""
