"""Share code between the tests of the article's claims; the tests themselves are on the shelf ``plugins.claims``.

1. ``claim`` turns a test (Evidence) -> Judgement into a claim on the shelf, and tests all claims there.
2. ``evidence`` gives a test the records that it needs.
3. ``paired`` and ``standings`` judge accuracies. A verdict follows from the numbers by a rule in code that could go the
   other way.
"""
