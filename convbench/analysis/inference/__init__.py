"""Mathematics on tables of seeds and draws, without cases or results: who is better, by how much, how surely.

``two_way`` estimates means and their noise, ``noninferior`` says who is within a margin of the best, ``effect`` whether
there is a difference at all, and ``dominance`` how likely each is on a front.
"""
