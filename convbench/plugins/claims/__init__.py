"""The shelf of claims: (Evidence) -> Judgement. One file for each kind of evidence.

To add one, mark a function with ``analysis.claims.claim.claim`` and a name of your own; raise Lacking where the records
do not hold what it needs. The verdict must follow from the numbers by a rule that could go the other way.
"""
