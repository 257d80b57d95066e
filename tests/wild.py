"""Models as they are written in the wild, and models that misbehave: what a suite's ``model:`` may name."""

from __future__ import annotations

import os
import signal
import time

import torch
from torch import nn

from convbench.core.record import Clip


def clip_inputs(clip: Clip):
    return torch.randn(clip.batch, clip.frames, clip.channels, clip.height, clip.width)


def time_major(clip: Clip):
    return (torch.randn(clip.frames, clip.batch, clip.channels, clip.height, clip.width),)


def channels_first(clip: Clip):
    return torch.randn(clip.batch, clip.channels, clip.frames, clip.height, clip.width)


def as_dict(clip: Clip):
    return {"frame": clip_inputs(clip), "reward": torch.zeros(clip.batch, clip.frames)}


class Article(nn.Module):
    """The article's GAP model, its own code."""

    def __init__(self, input_channels=3, conv_filters=32, lstm_hidden_size=128, lstm_layers=1):
        super().__init__()
        self.conv1 = nn.Conv2d(input_channels, conv_filters, kernel_size=3, padding=1)
        self.relu = nn.ReLU()
        self.global_avg_pool = nn.AdaptiveAvgPool2d((1, 1))
        self.lstm = nn.LSTM(conv_filters, lstm_hidden_size, num_layers=lstm_layers, batch_first=True)

    def forward(self, x):
        batch_size, seq_len, _, h, w = x.size()
        x = x.view(batch_size * seq_len, _, h, w)
        x = self.global_avg_pool(self.relu(self.conv1(x)))
        x = x.squeeze(3).squeeze(2)
        out, _ = self.lstm(x.view(batch_size, seq_len, -1))
        return out


class CellLoop(nn.Module):
    """An LSTMCell stepped in a Python loop, time-major input (T, B, C, H, W)."""

    def __init__(self, hidden=16):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, stride=2)
        self.cell = nn.LSTMCell(4, hidden)

    def forward(self, frames):
        state, outputs = None, []
        for frame in frames:
            state = self.cell(self.conv(frame).mean((2, 3)), state)
            outputs.append(state[0])
        return torch.stack(outputs)


class HandWrittenCell(nn.Module):
    """An LSTM cell made of two Linear layers (one bias, not two); input (B, C, T, H, W); returns output and hidden."""

    def __init__(self, hidden=16):
        super().__init__()
        self.hidden = hidden
        self.cnn = nn.Conv2d(3, 4, 3, stride=2)
        self.x = nn.Linear(4, 4 * hidden)
        self.h = nn.Linear(hidden, 4 * hidden, bias=False)

    def forward(self, video):
        h = c = video.new_zeros(video.shape[0], self.hidden)
        for frame in video.unbind(2):
            i, f, g, o = (self.x(self.cnn(frame).mean((2, 3))) + self.h(h)).chunk(4, dim=1)
            c = f.sigmoid() * c + i.sigmoid() * g.tanh()
            h = o.sigmoid() * c.tanh()
        return h, (h, c)


class KeepsState(nn.Module):
    """Keeps its hidden state between calls."""

    def __init__(self):
        super().__init__()
        self.lstm = nn.LSTM(3, 8, batch_first=True)
        self.state = None

    def forward(self, clip):
        out, self.state = self.lstm(clip.mean((3, 4)), self.state)
        return out


class DictModel(nn.Module):
    """Takes keyword arguments as torchbeast's models do: D is odd because the reward is appended."""

    def __init__(self):
        super().__init__()
        self.body = nn.Conv2d(3, 8, 3, padding=1)
        self.core = nn.LSTM(9, 16, num_layers=2)

    def forward(self, frame, reward):
        batch, steps = frame.shape[:2]
        maps = torch.relu(self.body(frame.flatten(0, 1))).mean((2, 3)).unflatten(0, (batch, steps))
        return self.core(torch.cat((maps, reward.unsqueeze(-1)), dim=-1).transpose(0, 1))


class Ending(nn.Module):
    """Fine on the meta device, and ends its process, hangs or raises where it really runs."""

    def __init__(self, how: str):
        super().__init__()
        self.how = how
        self.lstm = nn.LSTM(3, 4, batch_first=True)

    def forward(self, clip):
        if clip.device.type != "meta":
            match self.how:
                case "crash":
                    print("about to fall over", flush=True)
                    os.kill(os.getpid(), signal.SIGSEGV)
                case "killed":
                    os.kill(os.getpid(), signal.SIGKILL)
                case "hang":
                    time.sleep(3600)
                case "exit":
                    os._exit(7)
                case "raise":
                    raise ValueError("the user's own mistake")
        return self.lstm(clip.mean((3, 4)))


class Unsteady(nn.Module):
    """Gives another output in channels_last than in contiguous memory: a wrong variant."""

    def forward(self, clip):
        return clip.mean() + float(clip.is_contiguous())


def a_string(clip: Clip):
    return f"inputs of {clip}"


def not_a_module():
    return "a string"
