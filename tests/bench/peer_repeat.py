"""The peers of ``repeat.py``: time the article's model as another tool does, in a fresh process, and print seconds.

Arguments: the method, the reducer and the LSTM input size. ``timer`` is torch.utils.benchmark's adaptive_autorange
with its defaults. ``script`` is a script as a user gives it to hyperfine, which starts it ten times: 3 warm-up calls,
then the mean of fifty. ``optimum`` is optimum-benchmark's inference scenario with its defaults: 10 warm-up calls, then
the mean of calls for 10 seconds, at least 10 calls.
"""

import json
import sys
import time

import torch
from peer_model import Model
from torch.utils.benchmark import Timer

method, reducer, size = sys.argv[1], sys.argv[2], int(sys.argv[3])


def calls(number: int, seconds: float = 0.0) -> float:
    """Return the mean seconds of a call over at least ``number`` calls and at least ``seconds``."""
    start, count = time.perf_counter(), 0
    while count < number or time.perf_counter() - start < seconds:
        model(clip)
        count += 1
    return (time.perf_counter() - start) / count


torch.set_num_threads(1)
model, clip = Model(reducer, size).eval(), torch.randn(1, 16, 3, 64, 64)
with torch.inference_mode():
    if method == "timer":
        timer = Timer("model(clip)", globals={"model": model, "clip": clip}, num_threads=1)
        print(json.dumps(timer.adaptive_autorange().median))
    elif method == "script":
        calls(3)
        print(json.dumps(calls(50)))
    else:
        calls(10)
        print(json.dumps(calls(10, 10.0)))
