"""Records become answers as data: numbers, groups, fronts and choices. No drawing, no words, no torch.

1. ``results`` derives each record's numbers once; ``table`` is them as rows.
2. ``costs`` ranks what is cheap, ``quality`` what is learned, ``choice`` recommends by both; ``inference`` is the
   statistics beneath.
3. ``compare`` and ``stored_runs`` lay runs side by side; ``claims`` tests what the article says.
"""
