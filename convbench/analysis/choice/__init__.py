"""Recommend a configuration for a task: the cheapest one that is shown to be within a margin of the best.

``candidates`` joins qualities and costs, ``pool`` compares those within the budget, and ``choose`` decides by what
``analysis.inference`` shows of them. ``stability`` estimates how often it would decide so again, ``doubts`` says why an
answer is not sure, ``settling`` what would settle it, and ``further`` which trainings that takes. ``recommendation``
holds the question and the answer.
"""
