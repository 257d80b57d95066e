"""Turn records into answers as data: numbers, groups, fronts and choices. No drawing, no words, no torch.

1. ``results`` derives each record's numbers once, the latency by ``latencies`` and ``hosts``; ``table`` turns them
   into rows.
2. ``costs`` ranks models by cost, ``quality`` summarises what they learn, and ``choice`` recommends by both.
   ``inference`` holds the statistics that these use.
3. ``compare``, ``stored_runs`` and ``agreement`` compare runs, and ``history`` finds when many stored runs changed.
4. ``claims`` tests the article's statements.
"""
