"""MACs and parameters, counted in two independent ways that must agree.

``meta`` counts on the meta device and costs nothing, ``traced`` from a trace of a real call; ``affine`` finds reducers
that are linear and so fold into the LSTM.
"""
