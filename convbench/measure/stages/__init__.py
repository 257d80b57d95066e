"""Where the time of a call goes: backbone, reducer, LSTM, head, and training's optimizer.

``hooks`` says when a stage begins and ends, in the forward and the backward pass; ``profiler_marks`` puts that into a
trace, ``spans`` reads it back, ``compiled`` reads what a compiled model's trace can attribute.
"""
