"""The peer: what one writes without convbench, in a process of its own. Prints [median, low, high] in seconds.

The article's model with a given reducer and LSTM input size, timed by torch.utils.benchmark.Timer.adaptive_autorange
until the 95 % interval of the median is as narrow as asked (arguments: reducer, size, target, limit in seconds).
"""

import json
import sys
import time

import torch
from torch import nn
from torch.utils.benchmark import Timer

from convbench.core.statistics import median_interval

reducer, size, target, limit = sys.argv[1], int(sys.argv[2]), float(sys.argv[3]), float(sys.argv[4])
REDUCERS = {
    "flatten": lambda: nn.Flatten(),
    "gap": lambda: nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten()),
    "fc": lambda: nn.Sequential(nn.Flatten(), nn.Linear(131_072, size)),
    "hybrid": lambda: nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(32, size)),
}


class Model(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Sequential(nn.Conv2d(3, 32, 3, padding=1), nn.ReLU())
        self.reducer = REDUCERS[reducer]()
        self.lstm = nn.LSTM(size, 128, batch_first=True)

    def forward(self, clip: torch.Tensor) -> torch.Tensor:
        return self.lstm(self.reducer(self.conv(clip.flatten(0, 1))).unflatten(0, clip.shape[:2]))[0]


model, clip = Model().eval(), torch.randn(1, 16, 3, 64, 64)
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
