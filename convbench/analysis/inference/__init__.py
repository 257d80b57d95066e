"""Compute statistics of tables of seeds and draws, without cases or results: who is better, by how much, how surely.

``two_way`` estimates means and their noise, ``noninferior`` finds who is within a margin of the best, and ``effect``
tests whether there is a difference at all. ``seed_table`` holds the accuracies, and ``clip_pool`` estimates the
variance that no number of seeds removes. ``host_effects`` are those of hosts on the times measured there.
"""
