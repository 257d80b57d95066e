"""The peer: what a user would write without convbench, in its own process. Prints [median, low, high] in seconds.

The article's model with a given reducer and LSTM input size, timed by torch.utils.benchmark.Timer.adaptive_autorange
until the 95 % interval of the median is within the target (arguments: reducer, size, target, limit in seconds).
"""

import json
import sys
import time

import torch
from peer_model import Model
from torch.utils.benchmark import Timer

from convbench.core.statistics import median_interval

reducer, size, target, limit = sys.argv[1], int(sys.argv[2]), float(sys.argv[3]), float(sys.argv[4])
model, clip = Model(reducer, size).eval(), torch.randn(1, 16, 3, 64, 64)
names = {"model": model, "clip": clip}
start, times = time.perf_counter(), []
with torch.inference_mode():
    timer = Timer("model(clip)", globals=names, num_threads=torch.get_num_threads())
    while True:
        times += timer.adaptive_autorange(min_run_time=0.2, max_run_time=2.0).times
        interval = median_interval(times)
        if interval.relative_half_width <= target or time.perf_counter() - start > limit:
            break
print(json.dumps(interval))
