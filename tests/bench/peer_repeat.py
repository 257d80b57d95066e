"""The peers of ``repeat.py``: the article's model timed the way of another tool, in this fresh process. Prints seconds.

Arguments: the method, the reducer and the LSTM input size. ``timer`` is torch.utils.benchmark's adaptive_autorange as
it comes; ``script`` is what one gives to hyperfine, which starts it ten times: a few calls to warm up, then the mean
of fifty; ``optimum`` is optimum-benchmark's inference scenario as it comes: 10 calls to warm up, then calls for 10
seconds, 10 at least, and their mean.
"""

import json
import sys
import time

import torch
from torch import nn
from torch.utils.benchmark import Timer

method, reducer, size = sys.argv[1], sys.argv[2], int(sys.argv[3])
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


def calls(number: int, seconds: float = 0.0) -> float:
    """The mean of at least so many calls for at least so many seconds."""
    start, count = time.perf_counter(), 0
    while count < number or time.perf_counter() - start < seconds:
        model(clip)
        count += 1
    return (time.perf_counter() - start) / count


torch.set_num_threads(1)
model, clip = Model().eval(), torch.randn(1, 16, 3, 64, 64)
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
