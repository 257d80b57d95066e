"""Turn records into answers as data: numbers, groups, fronts and choices. No drawing, no words, no torch.

1. ``results`` derives each record's numbers once; ``table`` turns them into rows.
2. ``costs`` ranks models by cost, ``quality`` summarises what they learn, and ``choice`` recommends by both.
   ``inference`` holds the statistics that these use.
3. ``compare`` and ``stored_runs`` compare runs; ``claims`` tests the article's statements.
"""
