"""MACs and parameters, counted in two independent ways that must agree.

1. ``counted`` takes the count of a case or of a live module: by ``dispatched``, on the meta device where that works.
2. ``traced`` is the second count, from a trace of a real call; ``formulas`` has what torch's own counter lacks.
3. ``affine`` finds reducers that are linear and so fold into the LSTM.
"""
