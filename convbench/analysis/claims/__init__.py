"""The article's claims, each tested: one file for each kind of evidence, ``shelf`` has them by number.

A claim is a function (Evidence) -> Claim, and its verdict follows from the numbers by a rule in code that could go the
other way. Algebra and arithmetic run torch here; the rest reads records.
"""
