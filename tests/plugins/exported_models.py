"""Users' models that another runtime can, or cannot, run."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn.utils import rnn


class Keyed(nn.Module):
    """Takes the items of a dict and returns a dict. The shape of the scale is not the clip's."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(48, 5, batch_first=True)

    def forward(self, frames, scale):
        outputs, state = self.lstm(frames.flatten(2) * scale)
        return {"scores": outputs, "state": state}


def keyed_inputs(clip):
    frames = torch.randn(clip.batch, clip.frames, clip.channels, clip.height, clip.width)
    return {"frames": frames, "scale": torch.rand(1)}


class Judging(nn.Module):
    """An actor and its critic: the scores of actions, and the value of the state."""

    def __init__(self) -> None:
        super().__init__()
        self.actor, self.critic = nn.Linear(48, 5), nn.Linear(48, 1)

    def forward(self, clip):
        return self.actor(clip.flatten(2)), self.critic(clip.flatten(2))


class Lowered(Judging):
    """Computes in bfloat16, like its inputs."""

    def __init__(self) -> None:
        super().__init__()
        self.bfloat16()


def lowered(clip):
    return torch.randn(clip.batch, clip.frames, clip.channels, clip.height, clip.width).bfloat16()


class Twice(nn.Module):
    """Reads a clip forwards and backwards with the same layer."""

    def __init__(self, bias: bool = True, proj_size: int = 0) -> None:
        super().__init__()
        self.lstm = nn.LSTM(48, 8, batch_first=True, bias=bias, proj_size=proj_size)

    def forward(self, clip):
        vectors = clip.flatten(2)
        return self.lstm(vectors)[0] * self.lstm(vectors.flip(1))[0]


class Packing(nn.Module):
    """Packs its clips, of which the second is shorter."""

    def __init__(self) -> None:
        super().__init__()
        self.gru = nn.GRU(48, 8, batch_first=True)

    def forward(self, clip):
        packed = rnn.pack_padded_sequence(clip.flatten(2), torch.tensor([3, 2]), batch_first=True)
        return rnn.pad_packed_sequence(self.gru(packed)[0], batch_first=True)[0]


class Attending(nn.Module):
    """Lets torch fuse its attention, which is another operator in evaluation."""

    def __init__(self) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(48, 4, batch_first=True)

    def forward(self, clip):
        vectors = clip.flatten(2)
        return self.attention(vectors, vectors, vectors)[0]


class Kept:
    """The state of ``Boxing``."""

    def __init__(self, mean: torch.Tensor) -> None:
        self.mean = mean


class Boxing(nn.Module):
    """Carries its state in an object of its own class."""

    def forward(self, frame, state=None):
        mean = frame.mean((1, 2, 3, 4)) / 2 + (0 if state is None else state.mean / 2)
        return mean, Kept(mean)


class Turning(nn.Module):
    """Returns complex numbers."""

    def forward(self, clip):
        return torch.fft.rfft(clip)


class Emptying(nn.Module):
    """Returns scores and an empty list of boxes, for which OpenVINO returned a single number."""

    def forward(self, clip):
        return clip.mean((2, 3, 4)), clip[:0, 0, 0, 0, :3]


class Spelling(nn.Module):
    """Returns a text that it reads from the clip, and with ``scored`` a score beside it."""

    def __init__(self, *, scored: bool = False) -> None:
        super().__init__()
        self.scored = scored

    def forward(self, clip):
        text = f"{float(clip.mean()):.3f}"
        return {"text": text, "score": clip.amax()} if self.scored else text


class Noisy(nn.Module):
    """Adds random numbers."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(1.0))

    def forward(self, clip):
        return clip + self.scale * torch.randn_like(clip)


class Branching(nn.Module):
    """Branches in Python on its input, so a trace keeps only the branch taken."""

    def forward(self, clip):
        if float(clip.flatten()[0]) > SEEN:
            return clip * 2
        return clip * 3


SEEN = 0.0


class Apart(nn.Module):
    """Calls the layers of its encoder, but never the encoder itself."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU())
        self.lstm = nn.LSTM(4, 5, batch_first=True)

    def forward(self, clip):
        maps = clip.flatten(0, 1)
        for part in self.encoder:
            maps = part(maps)
        return self.lstm(maps.mean((2, 3)).unflatten(0, clip.shape[:2]))[0]


class Together(Apart):
    """Calls its encoder."""

    def forward(self, clip):
        return self.lstm(self.encoder(clip.flatten(0, 1)).mean((2, 3)).unflatten(0, clip.shape[:2]))[0]


class Solving(nn.Module):
    """Uses an operator that ONNX lacks."""

    def forward(self, clip):
        square = clip[:, 0, 0] @ clip[:, 0, 0].transpose(1, 2)
        return torch.linalg.eigvals(square).real


class Counting(nn.Module):
    """Counts its calls and answers by the count. Exporting it is also a call."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("calls", torch.zeros(()))

    def forward(self, clip):
        self.calls += 1
        return clip * self.calls


class Keeping(nn.Module):
    """Streams with a state that it keeps in an attribute."""

    def __init__(self) -> None:
        super().__init__()
        self.total = 0.0

    def forward(self, clip, state=None):
        self.total = clip.mean((1, 3, 4)) + self.total
        return self.total[:, None], state


class Remembering(nn.Module):
    """Keeps every frame in its state."""

    def forward(self, clip, state=None):
        seen = clip.mean((3, 4))
        seen = seen if state is None else torch.cat([state["seen"], seen], 1)
        return seen.mean(1), {"seen": seen}


class Listing(nn.Module):
    """Appends every frame to a list."""

    def forward(self, clip, state=None):
        state = [*(state or []), clip.mean((1, 3, 4))]
        return torch.stack(state).mean(0), state


class Numbering(nn.Module):
    """Numbers its frames in Python."""

    def forward(self, clip, state=None):
        number, total = (0, 0.0) if state is None else state
        total = clip.mean((1, 3, 4)) + total
        return total / (number + 1), (number + 1, total)


class LateStart(nn.Module):
    """Begins with ``start`` everywhere if it is given no state."""

    def __init__(self, start: float = 1.0) -> None:
        super().__init__()
        self.start = start
        self.decay = nn.Parameter(torch.tensor(0.5))

    def forward(self, clip, state=None):
        state = torch.full((clip.shape[0], 3), self.start) if state is None else state
        state = state * self.decay + clip.mean((1, 3, 4))
        return state[:, None], state


class Learned(nn.Module):
    """Begins with a learned state, in an nn.LSTM and a GRUCell."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Parameter(torch.tensor([[0.5, -1.0, 2.0]]))
        self.lstm, self.cell = nn.LSTM(3, 3, batch_first=True), nn.GRUCell(3, 3)

    def forward(self, clip, state=None):
        if state is None:
            first = self.first.expand(clip.shape[0], -1)
            state = {"lstm": (first[None], -first[None]), "cell": first}
        vectors, lstm = self.lstm(clip.mean((3, 4)).repeat(1, 1, 3)[..., :3], state["lstm"])
        cell = self.cell(vectors[:, -1], state["cell"])
        return cell[:, None], {"lstm": lstm, "cell": cell}


class Resetting(nn.Module):
    """Reads the value of a tensor, like agents that reset their state after an episode."""

    def forward(self, starts):
        if torch.all(starts == 0):
            return starts
        return starts * 2


class Overwriting(nn.Module):
    """Writes into the cache that it is given, like streamed convolutions."""

    def forward(self, clip, state=None):
        cache = torch.zeros(2, clip.shape[0], 3) if state is None else state
        cache[0] = cache[1]
        cache[1] = clip.mean((1, 3, 4))
        return cache.sum(0)[:, None], cache


class Bidirectional(nn.Module):
    """Needs later frames, so frame by frame gives other results than the whole clip."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(48, 5, batch_first=True, bidirectional=True)

    def forward(self, clip, state=None):
        return self.lstm(clip.flatten(2), state)


class Answering(nn.Module):
    """Answers once per clip, or once per frame if it gets frames one at a time."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm, self.out = nn.LSTM(48, 5, batch_first=True), nn.Linear(5, 4)

    def forward(self, clip, state=None):
        outputs, state = self.lstm(clip.flatten(2), state)
        return self.out(outputs[:, -1]), state


class Versioned(nn.Module):
    """Reads tensor versions, which tensors made in torch's inference mode lack."""

    def forward(self, clip):
        rows = clip.flatten(2)
        return rows * 2.0 if rows.relu()._version == 0 else rows


def few(clip, count):
    for _ in range(2):
        yield torch.randn(clip.batch, clip.frames, clip.channels, clip.height, clip.width)


def broken(clip, count):
    for number in range(count):
        frames = torch.randn(clip.batch, clip.frames, clip.channels, clip.height, clip.width)
        yield frames / 0.0 if number == 3 else frames


def misshapen(clip, count):
    yield torch.randn(1, 1)
