"""MACs and parameters, counted in two independent ways that must agree.

1. ``counted`` counts a case or a live module with ``dispatched``, on the meta device if that works.
2. ``traced`` is the second count, from a trace of a real call; ``formulas`` adds what torch's own counter lacks.
3. ``affine`` finds linear reducers, which fold into the LSTM.
"""
