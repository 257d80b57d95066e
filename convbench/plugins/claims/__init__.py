"""Claims, one file per kind of evidence: each is a function (Evidence) -> Judgement.

To add one, mark a function with ``analysis.claims.claim.claim`` and a name of your own. Raise Lacking if the records do
not hold what it needs. The verdict must follow from the numbers by a rule that could also give the opposite verdict.
"""
