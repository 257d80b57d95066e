"""Where the time of a call goes: backbone, reducer, LSTM, head, and training's optimizer.

``hooks`` tells when a stage begins and ends, in the forward and the backward pass. ``stopwatch`` takes the time then.
``profiler_marks`` puts it into a trace and ``spans`` reads it back; ``compiled`` reads what a compiled model's trace
can attribute.
"""
