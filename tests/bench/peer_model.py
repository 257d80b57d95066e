"""The article's model with a reducer and an LSTM input size, written without convbench."""

import torch
from torch import nn


class Model(nn.Module):
    def __init__(self, reducer: str, size: int) -> None:
        super().__init__()
        self.conv = nn.Sequential(nn.Conv2d(3, 32, 3, padding=1), nn.ReLU())
        self.reducer = {
            "flatten": lambda: nn.Flatten(),
            "gap": lambda: nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten()),
            "fc": lambda: nn.Sequential(nn.Flatten(), nn.Linear(131_072, size)),
            "hybrid": lambda: nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(32, size)),
        }[reducer]()
        self.lstm = nn.LSTM(size, 128, batch_first=True)

    def forward(self, clip: torch.Tensor) -> torch.Tensor:
        return self.lstm(self.reducer(self.conv(clip.flatten(0, 1))).unflatten(0, clip.shape[:2]))[0]
