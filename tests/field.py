"""Models like those of users that a meta device, tracer or module hook alone cannot follow. Each is a kind of fault."""

from __future__ import annotations

import copy
import io
import random
import warnings
from collections import UserDict, defaultdict, deque
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from operator import methodcaller
from types import SimpleNamespace
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch._higher_order_ops.scan import scan
from torch.nn.utils import parametrizations, prune
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence, unpack_sequence

from convbench.core.record import Clip

CELLS = {"lstm": nn.LSTM, "gru": nn.GRU, "rnn": nn.RNN}


class Base(nn.Module):
    """A convolution of each frame, the mean of its maps, and an LSTM over the frames."""

    def __init__(self, hidden: int = 20, **options):
        super().__init__()
        self.cnn = nn.Conv2d(3, 6, 3, stride=2)
        self.rnn = nn.LSTM(6, hidden, batch_first=True, **options)

    def vectors(self, x):
        return self.cnn(x.flatten(0, 1)).mean((2, 3)).unflatten(0, x.shape[:2])

    def forward(self, x):
        return self.rnn(self.vectors(x))[0]


class Packed(Base):
    def __init__(self, cell="lstm", inside=False, **options):
        super().__init__()
        self.inside = inside
        self.rnn = CELLS[cell](6, 20, num_layers=2, batch_first=True, **options)

    def forward(self, x, lengths=None):
        lengths = torch.tensor([5, 8, 2]) if self.inside else lengths
        packed = pack_padded_sequence(self.vectors(x), lengths, batch_first=True, enforce_sorted=False)
        return pad_packed_sequence(self.rnn(packed)[0], batch_first=True, total_length=x.shape[1])[0]


class Shortened(nn.Module):
    """Runs sequences of lengths that are known, or that it draws, through layers that need most of its memory."""

    def __init__(self, cell: str = "lstm", batch_first: bool = True, drawn: bool = False, how: str = "", **options):
        super().__init__()
        self.drawn, self.batch_first = drawn, batch_first
        self.converted = {
            "": torch.as_tensor,
            "deepcopy": copy.deepcopy,
            "numpy": methodcaller("numpy"),
            "reversed": lambda lengths: lengths[torch.arange(len(lengths)).flip(0)],
            "shuffled": lambda lengths: lengths[torch.randperm(len(lengths))],
        }[how]
        self.rnn = CELLS[cell](300, 200, batch_first=batch_first, **options)

    def forward(self, x):
        batch, frames = x.shape[:2]
        vectors = x.flatten(2)[..., :300]
        lengths = torch.randint(frames, frames + 1, (batch,)) if self.drawn else [2 + i for i in range(batch)]
        lengths = self.converted(torch.as_tensor(lengths))
        vectors = vectors if self.batch_first else vectors.transpose(0, 1)
        packed = pack_padded_sequence(vectors, lengths, self.batch_first, enforce_sorted=False)
        return pad_packed_sequence(self.rnn(packed)[0], self.batch_first, total_length=frames)[0]


class Trimmed(Base):
    """Returns its outputs without the padding, of lengths that it knows."""

    def __init__(self, how: str):
        super().__init__()
        self.how = how

    def forward(self, x):
        lengths = torch.tensor([2 + i for i in range(len(x))])
        if self.how == "mask":
            return super().forward(x)[torch.arange(x.shape[1]) < lengths[:, None]]
        packed = pack_padded_sequence(self.vectors(x), lengths, batch_first=True, enforce_sorted=False)
        if self.how == "unpacked":
            return unpack_sequence(self.rnn(packed)[0])
        outputs, lengths = pad_packed_sequence(self.rnn(packed)[0], batch_first=True)
        return torch.stack([output[last - 1] for output, last in zip(outputs, lengths.tolist(), strict=True)])


class Branches(nn.Module):
    """Takes the one or the other branch, by its input, after a layer of the same kind."""

    def __init__(self):
        super().__init__()
        self.first, self.short = nn.Linear(8, 8), nn.Linear(8, 8)
        self.long = nn.Sequential(nn.Linear(8, 8), nn.Linear(8, 8))

    def forward(self, x):
        x = self.first(x)
        return torch.cond(x.sum() > 0, lambda x: self.long(x), lambda x: self.short(x), (x,))


def packed(cell: str = "lstm", inside: bool = False):
    options = {"proj_size": 7, "bidirectional": True} if cell == "lstm" else {}
    return Packed(cell, inside, **options)


def clips(clip: Clip):
    return torch.randn(clip.batch, clip.frames, clip.channels, clip.height, clip.width)


def fixed(clip: Clip):
    return torch.randn(2, 3, 3, 16, 16)


def lengths(clip: Clip):
    return {"x": clips(clip), "lengths": torch.tensor([5, 8, 2])}


def listed_clips(clip: Clip):
    return [clips(clip), torch.tensor([5, 8, 2])]


def listed_lengths(clip: Clip):
    return {"x": clips(clip), "lengths": [5, 8, 2]}


class Tokens(Base):
    """Projects every place of its maps by a layer without a bias, as attention does with keys and values."""

    def __init__(self):
        super().__init__()
        self.project = nn.Linear(6, 24, bias=False)
        self.rnn = nn.LSTM(24, 20, batch_first=True)

    def vectors(self, x):
        return self.project(self.cnn(x.flatten(0, 1)).flatten(2).mT).mean(1).unflatten(0, x.shape[:2])


class Residual(Base):
    """A ResNet block for each frame. Its shortcut is a strided 1 x 1 convolution, for which oneDNN makes a copy."""

    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 6, 3, 2, 1, bias=False), nn.Conv2d(6, 6, 3, 1, 1, bias=False)
        self.cnn = nn.Conv2d(3, 6, 1, 2, bias=False)
        self.norms = nn.ModuleList([nn.BatchNorm2d(6), nn.BatchNorm2d(6)])

    def vectors(self, x):
        frames = x.flatten(0, 1)
        deep = self.norms[1](self.second(self.norms[0](self.first(frames)).relu()))
        return (deep + self.cnn(frames)).relu().mean((2, 3)).unflatten(0, x.shape[:2])


class Reads(Base):
    """Reads values of tensors and depends on them."""

    def __init__(self, how: str):
        super().__init__()
        self.how = how

    def forward(self, x):
        match self.how:
            case "item":
                scale = x.std().item()
            case "if":
                scale = 2.0 if torch.all(x > 0) else 1.0
            case "nonzero":
                x, scale = x[:, torch.nonzero(x.mean((0, 2, 3, 4)) > -1e9).squeeze(1)], 1.0
            case "mask":
                x, scale = x[:, x.mean((0, 2, 3, 4)) > -1e9], 1.0
            case "numpy":
                x, scale = torch.from_numpy(x.detach().numpy() * 0.5), 1.0
            case "distribution":
                y = super().forward(x)
                return torch.distributions.Normal(
                    y, y.exp(), validate_args=True
                ).mean  # torch.compile turns the default off
            case "on cpu":
                assert torch.zeros(x.shape[0], 20).shape == (x.shape[0], 20)
                state = torch.zeros(1, x.shape[0], 20)
                return self.rnn(self.vectors(x), (state, state))[0]
        return super().forward(x / scale)


def reads(how: str):
    return Reads(how)


@lru_cache
def ramp(width: int):
    return torch.linspace(0.0, 1.0, width)


LAST_REWARD = torch.zeros(1, 1, 1)


class Constant(Base):
    """Adds a tensor that its module makes when it is imported, and has copies of a layer with numbers of their own."""

    def __init__(self):
        super().__init__()
        layer = nn.Linear(20, 20)
        self.layers = nn.Sequential(*(copy.deepcopy(layer) for _ in range(2)))
        for clone in self.layers:
            nn.init.xavier_uniform_(clone.weight)

    def forward(self, x):
        return self.layers(super().forward(x)) + LAST_REWARD


class Spells(Base):
    """Writes one output after the other, starting with a vector of zeros that it makes from the batch's size."""

    def forward(self, x):
        letters, letter = [], torch.LongTensor(x.size(0)).fill_(0)
        for h in super().forward(x).unbind(1):
            letter = (h + F.one_hot(letter.unsqueeze(1), 20).squeeze(1)).argmax(1)
            letters.append(letter)
        return torch.stack(letters, 1)


class Typed(Base):
    """Computes in one number type, whatever the type of its clips."""

    def __init__(self, how: str):
        super().__init__()
        self.to(getattr(torch, how))

    def forward(self, x):
        return super().forward(x.to(self.cnn.weight.dtype))


class Keeps(Base):
    """Adds coordinates that are computed once and kept, even if the device changes."""

    def forward(self, x):
        return super().forward(x + ramp(x.shape[-1]))


class KeepsReducer(nn.Module):
    def forward(self, maps):
        return (maps * ramp(maps.shape[-1])).mean((2, 3))


def keeps_reducer(features, lstm_input):
    return KeepsReducer()


class ReadsInTraining(nn.Module):
    """Scales by a value that it reads, but only in training."""

    def forward(self, maps):
        return maps.mean((2, 3)) * (maps.std().item() if self.training else 1.0)


def reads_in_training(features, lstm_input):
    return ReadsInTraining()


class LazyReducer(nn.Module):
    def __init__(self, size: int):
        super().__init__()
        self.out = nn.LazyLinear(size)

    def forward(self, maps):
        return self.out(maps.flatten(1))


def lazy_reducer(features, lstm_input):
    return LazyReducer(lstm_input)


class DividesByNought(nn.Module):
    def forward(self, maps):
        return (maps / (maps - maps)).mean((2, 3))


def divides_by_nought(features, lstm_input):
    return DividesByNought()


class Positions(nn.Module):
    """A position embedding of clips (1, T, C, H, W) before pooling: a weight of five axes."""

    def __init__(self, features):
        super().__init__()
        self.positions = nn.Parameter(torch.zeros(1, 1, features.channels, features.height, features.width))

    def forward(self, x):
        return (x + self.positions[:, 0]).mean((2, 3))


def reducer_with_positions(features, lstm_input):
    return Positions(features)


class Bytes(Base):
    """Takes frames as bytes, like those of cameras and games."""

    def forward(self, x):
        return super().forward(x / 255.0)


class Doubles(Base):
    """Computes in float64, which oneDNN does not support."""

    def __init__(self):
        super().__init__()
        self.double()

    def forward(self, x):
        return super().forward(x.double())


def frames(clip: Clip):
    return torch.randint(0, 256, (clip.batch, clip.frames, clip.channels, clip.height, clip.width), dtype=torch.uint8)


def moved():
    return Base().to("cpu").double().float()


class Deep(nn.Module):
    """A convolution and, in training, a random number of others: a trunk with stochastic depth."""

    def __init__(self, channels: int):
        super().__init__()
        self.stem, self.block = nn.Conv2d(channels, 4, 3, padding=1), nn.Conv2d(4, 4, 3, padding=1)

    def forward(self, frames):
        maps = self.stem(frames)
        for _ in range(random.randint(1, 20) + np.random.randint(20) if self.training else 1):
            maps = self.block(maps)
        return maps


def deep(channels: int):
    return Deep(channels)


class Late(Base):
    """Makes its LSTM in the first call."""

    def __init__(self):
        super().__init__()
        self.rnn = None

    def forward(self, x):
        if self.rnn is None:
            self.rnn = nn.LSTM(6, 20, batch_first=True, device=x.device)
        return super().forward(x)


def lazy():
    model = Base()
    model.cnn = nn.LazyConv2d(6, 3, stride=2)
    return model


class Unreached(Base):
    """Has a lazy layer that is only called in training."""

    def __init__(self):
        super().__init__()
        self.late = nn.LazyLinear(10)

    def forward(self, x):
        output = super().forward(x)
        return self.late(output) if self.training else output


class Beside(Base):
    """Has an unused part, larger than all others, that no gradient reaches."""

    def __init__(self):
        super().__init__()
        self.decoder = nn.Linear(500, 500)


class LearnedState(Base):
    def __init__(self):
        super().__init__()
        self.state = nn.Parameter(torch.zeros(2, 1, 1, 20))

    def forward(self, x):
        h, c = self.state.expand(2, 1, x.shape[0], 20).contiguous()
        return self.rnn(self.vectors(x), (h, c))[0]


def normed(how: str):
    model = Base()
    if how == "new":
        model.cnn = parametrizations.spectral_norm(model.cnn)
        model.rnn = parametrizations.weight_norm(model.rnn, "weight_hh_l0")
    else:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            model.rnn = nn.utils.weight_norm(model.rnn, "weight_hh_l0")
    return model


class Plain(nn.Module):
    """A model that TorchScript can compile."""

    def __init__(self):
        super().__init__()
        self.cnn = nn.Conv2d(3, 6, 3, stride=2)
        self.rnn = nn.LSTM(6, 20, batch_first=True)

    def forward(self, x: Tensor):
        b, t = x.size(0), x.size(1)
        return self.rnn(self.cnn(x.flatten(0, 1)).mean((2, 3)).view(b, t, 6))


@lru_cache
def saved_programs() -> tuple[bytes, bytes]:
    """Return two files of a model, of TorchScript and of torch.export; torch cannot write them without values."""
    script, export, model = io.BytesIO(), io.BytesIO(), Plain().eval()
    torch.jit.save(torch.jit.script(model), script)
    torch.export.save(torch.export.export(model, (torch.randn(3, 8, 3, 32, 32),)), export)
    return script.getvalue(), export.getvalue()


def wrapped(how: str):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = Plain().eval()
        match how:
            case "script":
                return torch.jit.script(model)
            case "part":
                model.cnn = torch.jit.script(model.cnn)
            case "trace":
                return torch.jit.trace(model, torch.randn(3, 8, 3, 32, 32))
            case "compile":
                return torch.compile(model, backend="eager")
            case "compile in place":
                model.compile(backend="eager")
            case "compile forward":
                model.forward = torch.compile(model.forward, backend="eager")
            case "parallel":
                return nn.DataParallel(model)
            case "frozen":
                return torch.jit.freeze(torch.jit.script(model))
            case "optimised":
                frames = torch.randn(3, 8, 3, 32, 32)
                return torch.jit.optimize_for_inference(torch.jit.trace(model.eval(), frames, check_trace=False))
            case "loaded":
                return torch.jit.load(io.BytesIO(saved_programs()[0]))
            case "loaded export":
                return torch.export.load(io.BytesIO(saved_programs()[1])).module()
            case "distributed":
                if not torch.distributed.is_initialized():
                    torch.distributed.init_process_group(store=torch.distributed.HashStore(), rank=0, world_size=1)
                return nn.parallel.DistributedDataParallel(model)
            case "exported":
                return torch.export.export(model, (torch.randn(3, 8, 3, 32, 32),)).module()
            case "quantised":
                return torch.ao.quantization.quantize_dynamic(model, {nn.LSTM}, dtype=torch.qint8)
        return model


class Listed(Base):
    """Keeps its convolution in a plain list, where torch does not see it."""

    def __init__(self):
        super().__init__()
        self.hidden = [self.__dict__["_modules"].pop("cnn")]

    def vectors(self, x):
        return self.hidden[0].to(x.device)(x.flatten(0, 1)).mean((2, 3)).unflatten(0, x.shape[:2])


class Frames(torch.Tensor):
    """A class of tensors."""


class Works(Base):
    """Computes in ways that torch's inference modes, its profiler or its tracer do not expect."""

    def __init__(self, how: str):
        super().__init__()
        self.how = how
        if how == "sparse":
            self.register_buffer("neighbours", torch.eye(20).to_sparse())
        if how == "sparse rows":
            self.rows = nn.Parameter(torch.eye(6).to_sparse_csr())

    def forward(self, x):
        match self.how:
            case "gradient":
                with torch.enable_grad():
                    x = x.detach().requires_grad_()
                    (x,) = torch.autograd.grad(self.vectors(x).sum(), x)
            case "gradient of maps":
                with torch.enable_grad():
                    frames = x.flatten(0, 1).detach().requires_grad_()
                    maps = self.cnn(frames)
                    (slope,) = torch.autograd.grad(maps.sum(), frames)
                return maps.mean() + slope.mean()
            case "needs gradients":
                assert super().forward(x).requires_grad
            case "sparse":
                return torch.sparse.mm(self.neighbours, super().forward(x).flatten(0, 1).t()).to_sparse()
            case "sparse rows":
                vectors = self.vectors(x)
                return self.rnn((self.rows @ vectors.flatten(0, 1).t()).t().unflatten(0, vectors.shape[:2]))[0]
            case "jagged" | "nested":
                layout = torch.jagged if self.how == "jagged" else torch.strided
                rows = torch.nested.as_nested_tensor([*super().forward(x)], layout=layout)
                return torch.nested.to_padded_tensor(rows, 0.0)
            case "own class":
                return super().forward(x.as_subclass(Frames))
            case "onednn":
                return super().forward(x).to_mkldnn().to_dense()
            case "vmap":
                return self.rnn(torch.vmap(lambda frame: self.cnn(frame).mean((2, 3)), 1, 1)(x))[0]
            case "jvp":
                outputs = torch.func.jvp(self.vectors, (x,), (torch.ones_like(x),))
                return self.rnn(sum(outputs))[0]
            case "later":
                return {"frames": [map(super().forward, x.split(1, 1))]}
            case "threads":
                frames = [x[:, : x.shape[1] // 2], x[:, x.shape[1] // 2 :]]
                with ThreadPoolExecutor(2) as pool:
                    return self.rnn(torch.cat(list(pool.map(self.vectors, frames)), 1))[0]
        return super().forward(x)


class Steps(Base):
    """Makes its own training step in ``forward``. ``closure`` keeps an LBFGS, ``scaled`` a scaler that fills late."""

    def __init__(self, how: str):
        super().__init__()
        self.scaler = torch.amp.GradScaler("cpu", enabled=how == "scaled")
        self.optimizer = (
            torch.optim.LBFGS(self.parameters(), 1e-3, max_iter=1)
            if how == "closure"
            else torch.optim.SGD(self.parameters(), 1e-3)
        )

    def forward(self, x):
        def closure():
            self.optimizer.zero_grad()
            loss = super(Steps, self).forward(x).square().mean()
            self.scaler.scale(loss).backward()
            return loss

        with torch.enable_grad():
            if isinstance(self.optimizer, torch.optim.LBFGS):
                return self.optimizer.step(closure).detach()
            loss = closure()
            self.scaler.step(self.optimizer)
            self.scaler.update()
            return loss.detach()


class Yields(Base):
    """Returns a generator, which computes a frame when it is read."""

    def forward(self, x):
        state = None
        for frame in x.split(1, 1):
            output, state = self.rnn(self.vectors(frame), state)
            yield output


class Waits(Base):
    """Its forward is a coroutine."""

    async def forward(self, x):
        return super().forward(x)


class FrozenTrunk(Base):
    """Its ``train`` returns nothing, as in many models that keep a trained trunk in evaluation mode."""

    def train(self, mode=True):
        super().train(mode)
        self.cnn.eval()


class NoGradient(torch.autograd.Function):
    """An operator of a user's that has no gradient."""

    @staticmethod
    def forward(_ctx, x):
        return x.clone()

    @staticmethod
    def backward(_ctx, _gradient):
        return None


class TrainsNothing(Base):
    """Its output, or its loss, requires a gradient, and none reaches its parameters."""

    def __init__(self, how):
        super().__init__()
        self.how = how
        if how == "quantised":
            torch.ao.quantization.quantize_dynamic(self, {nn.LSTM}, dtype=torch.qint8, inplace=True)

    def forward(self, x):
        output = super().forward(x)
        match self.how:
            case "cut":
                return NoGradient.apply(output)
            case "leaf":
                return output.detach().requires_grad_(torch.is_grad_enabled())
        return output


OWN_WEIGHT = nn.Parameter(torch.ones(()))


def own_loss(output, x):
    """A loss that trains a weight of its own on the inputs."""
    return OWN_WEIGHT.to(x.device) * x.mean()


class StepsInHooks(Base):
    """Each parameter has an optimizer, which steps as soon as the gradient is there, and then releases it."""

    def __init__(self):
        super().__init__()
        self.optimizers = {name: torch.optim.SGD([p], lr=1e-4) for name, p in self.named_parameters()}
        for name, parameter in self.named_parameters():
            parameter.register_post_accumulate_grad_hook(partial(self.step, name))

    def step(self, name, parameter):
        if not parameter.is_meta:
            self.optimizers[name].step()
        parameter.grad = None


class Scans(Base):
    """Scans the frames with a higher-order operator and the input weights of an LSTM."""

    def forward(self, x):
        frames, weight = self.vectors(x).transpose(0, 1), self.rnn.weight_ih_l0
        before = torch.zeros(len(x), len(weight), device=x.device)
        return scan(lambda state, frame: (state + frame @ weight.T, state.clone()), before, frames)[1]


class Asserts(Base):
    """Fails while torch's operators are watched, as some higher-order operators did."""

    def forward(self, x):
        assert not torch._C._len_torch_dispatch_stack(), "Mode should never be enabled"
        return super().forward(x)


class TrainsOnly(Base):
    """Returns its loss and fails outside of training, like many detectors. It does more work in training."""

    def forward(self, x):
        if not self.training:
            raise RuntimeError("call train() first")
        return self.rnn(self.vectors(x) + self.vectors(x.flip(1)))[0].square().mean()


class ByChance(Base):
    """Applies dropout and, like stochastic depth, runs its LSTM a random number of times."""

    def __init__(self, how: str):
        super().__init__()
        self.how = how
        self.scale = random.random()

    def forward(self, x):
        frames = F.dropout(self.vectors(x), training=True)
        outputs = [self.rnn(frames)[0] for _ in range(self.times())]
        return self.scale * torch.stack(outputs).mean(0)

    def times(self):
        match self.how:
            case "depth":
                return random.randint(1, 6)
            case "training":  # drawn by torch, which has no numbers on meta
                return torch.randint(1, 6, ()).item() if self.training else 1
        return 1


class Writes(Base):
    """Scales its frames in place."""

    def forward(self, x):
        return super().forward(x.div_(255.0))


class NoNumber(Base):
    """Returns NaN for the last frames, as attention does for clips that are only padding."""

    def __init__(self, frames: int):
        super().__init__()
        self.frames = frames

    def forward(self, x):
        output = super().forward(x)
        return torch.cat((output[:, : -self.frames], output[:, -self.frames :] * float("nan")), 1)


class Distributed(torch.Tensor):
    """A tensor that consists of numbers and of a mesh of devices, which is no tensor, like a DTensor's."""

    @staticmethod
    def __new__(cls, numbers):
        return torch.Tensor._make_wrapper_subclass(cls, numbers.shape, dtype=numbers.dtype)

    def __init__(self, numbers):
        self.numbers, self.mesh = numbers, object()

    @classmethod
    def __torch_dispatch__(cls, func, types, args=(), kwargs=None):
        raise NotImplementedError(func)

    def __tensor_flatten__(self):
        return ["numbers", "mesh"], None

    @staticmethod
    def __tensor_unflatten__(parts, *_):
        return Distributed(parts["numbers"])


class Quantised(Base):
    """Returns a quantised tensor, like a quantised encoder whose features stay quantised."""

    def forward(self, x):
        return torch.quantize_per_tensor(super().forward(x), 1 / 64, 64, torch.quint8)


class Wide(Base):
    """Has an expanded mask of ones that is stored as one number."""

    def __init__(self):
        super().__init__()
        self.register_buffer("mask", torch.ones(1, 1).expand(1 << 22, 1 << 22))

    def forward(self, x):
        return super().forward(x * self.mask[: x.shape[-1], : x.shape[-1]])


class Paths(Base):
    """Takes one list with a slow and a fast view of a video."""

    def forward(self, views):
        slow, fast = (self.vectors(view) for view in views)
        return self.rnn(slow.repeat_interleave(fast.shape[1] // slow.shape[1], 1) + fast)[0]


def views(clip: Clip):
    return [clips(replace(clip, frames=clip.frames // 4)), clips(clip)]


def same_views(clip: Clip):
    return [[frames := clips(clip), frames]]


def mapped_observation(clip: Clip):
    return UserDict(x=clips(clip))


class Observes(Base):
    """Takes one observation in the form that environments return."""

    def forward(self, observation):
        if isinstance(observation, SimpleNamespace):
            observation = vars(observation)
        image, speed = observation.values() if isinstance(observation, dict) else observation
        return self.rnn(self.vectors(image) * speed)[0]


class ReadsFirst(Base):
    """Takes one dictionary, as ``ReadsList`` takes one list."""

    def forward(self, observation: dict[str, Tensor]):
        return self.rnn(self.vectors(observation["image"]))[0]


class ReadsList(Base):
    def forward(self, observation: list[Tensor]):
        return self.rnn(self.vectors(observation[0]))[0]


class ReadsBoth(Base):
    def forward(self, image, speed):
        return self.rnn(self.vectors(image) * speed)[0]


def enclosed(kind: str, how: str) -> nn.Module:
    """Return ``ReadsFirst`` or ``ReadsList`` in one of torch's wrappers, whose signature takes anything."""
    model = {"dict": ReadsFirst, "list": ReadsList}[kind]()
    if how == "traced":
        image = torch.randn(1, 2, 3, 8, 8)
        return torch.jit.trace(model, ({"image": image, "speed": image} if kind == "dict" else [image, image],))
    around = {"compiled": torch.compile, "parallel": nn.DataParallel, "averaged": torch.optim.swa_utils.AveragedModel}
    return around[how](model)


class Undecided(UserDict):
    """A mapping without a truth value, like a TensorDict."""

    def __bool__(self):
        raise ValueError("the truth value is ambiguous")


def undecided(clip: Clip):
    return Undecided(observed(clip))


class Observation(NamedTuple):
    image: Tensor
    speed: Tensor


def observed(clip: Clip):
    return {"image": clips(clip), "speed": torch.ones(1)}


def named_observation(clip: Clip):
    return Observation(**observed(clip))


def observation(clip: Clip):
    return tuple(observed(clip).values())


class Indexed(dict):
    """Indexes its values with its brackets, and returns its items as attributes, like torch_ac's DictList."""

    __getattr__ = dict.__getitem__

    def __getitem__(self, index):
        return Indexed({key: value[index] for key, value in self.items()})

    def __setitem__(self, index, other):
        for key, value in other.items():
            dict.__getitem__(self, key)[index] = value


def indexed_observation(clip: Clip):
    return Indexed(observed(clip))


def plain_observation(clip: Clip):
    return SimpleNamespace(**observed(clip))


def guided(clip: Clip):
    """Return every second frame, a goal, and anchors that do not depend on time."""
    video = clips(replace(clip, frames=clip.frames // 2))
    return {"video": video, "goal": torch.randn(clip.batch, 512), "anchors": torch.zeros(5, clip.frames // 2)}


def time_first(clip: Clip):
    """Return a clip with time first, an LSTM's default, and an initial state that does not depend on time."""
    video = clips(clip).transpose(0, 1)
    return {"video": video, "done": torch.zeros(video.shape[:2]), "state": torch.zeros(2, clip.batch, 8)}


def tokens(clip: Clip):
    """Return words with time first, as a language model's, and a first state, which has more axes."""
    return {"words": torch.zeros(clip.frames, clip.batch, dtype=torch.long), "state": torch.zeros(1, clip.batch, 8)}


def two_cameras(clip: Clip):
    return clips(replace(clip, batch=2 * clip.batch))


class Slotted:
    """An output with its parts in slots. It has no length and no truth value, and cannot be compared."""

    __slots__ = ("frames", "state")

    def __init__(self, frames, state):
        self.frames, self.state = frames, state

    def __len__(self):
        raise TypeError("no length")

    def __eq__(self, other):
        raise TypeError("no equal")


class Attention(Base):
    def __init__(self, how: str):
        super().__init__(hidden=16)
        self.how = how
        layer = nn.TransformerEncoderLayer(16, 2, 32, batch_first=True)
        self.query = nn.Parameter(torch.randn(16)) if how in ("query", "product") else None
        self.codes = nn.Parameter(torch.randn(40, 16)) if "codes" in how else None
        self.padded = nn.TransformerEncoder(layer, 2) if how == "padded" else None
        self.rest = {"encoder": layer, "mha": nn.MultiheadAttention(16, 2, batch_first=True)}.get(how, nn.Identity())

    def forward(self, x):
        h = super().forward(x)
        match self.how:
            case "mha":
                return self.rest(h, h, h, need_weights=False)[0]
            case "query":
                return torch.einsum("bt,btd->bd", (h @ self.query).softmax(1), h)
            case "product":
                return torch.addmv(h[..., 0].flatten(), h.flatten(0, 1), self.query).dot(h[..., 1].flatten())
            case "codes":
                return torch.cdist(h.flatten(0, 1), self.codes)
            case "few codes":
                return torch.cdist(h.flatten(0, 1), self.codes[:4])
            case "padded":
                late = torch.arange(h.shape[1], device=h.device) > 5
                return self.padded(h, src_key_padding_mask=late.expand(h.shape[:2]))
            case "sdpa":
                return F.scaled_dot_product_attention(h, h, h)
            case "dead":
                self.last = F.linear(h, torch.ones(4, 16, device=h.device))
        return self.rest(h)


class Attends(nn.Module):
    """Only self-attention, on sixteen values of each frame. It is a single operator outside of training."""

    def __init__(self, how: str):
        super().__init__()
        self.how = how
        self.attention = nn.MultiheadAttention(16, 4, batch_first=True)
        self.layer = nn.TransformerEncoderLayer(
            16, 4, 2000 if how == "wide" else 32, batch_first=True, norm_first=how == "norm first"
        )
        if how == "masked":
            self.encoder = nn.TransformerEncoder(self.layer, 1, enable_nested_tensor=False)
        if how.startswith("nested"):
            self.encoder = nn.TransformerEncoder(self.layer, 1, mask_check=how == "nested")

    def forward(self, x):
        h = x.flatten(2)[..., :16].contiguous()
        frames = torch.arange(h.shape[1], device=h.device)
        match self.how:
            case "weighed":
                return self.attention(h, h, h, need_weights=False)
            case "weights":
                return self.attention(h, h, h)
            case "weights of heads":
                return self.attention(h, h, h, average_attn_weights=False)
            case "padded":
                return self.layer(h, src_key_padding_mask=(frames > 30).expand(h.shape[:2]))
            case "nested" | "nested unchecked":
                return self.encoder(h, src_key_padding_mask=(frames > 38).expand(h.shape[:2]))
            case "masked":
                return self.encoder(h, mask=nn.Transformer.generate_square_subsequent_mask(h.shape[1]))
            case "causal":
                return self.layer(h, src_mask=frames > frames[:, None])
        return self.layer(h)


class Computes(nn.Module):
    """One operator on 192 numbers of each frame, which are first multiplied by a weight."""

    def __init__(self, how: str):
        super().__init__()
        self.how = how
        self.weight = nn.Parameter(torch.ones(192))
        self.rnn = nn.LSTM(192, 100, batch_first=True, proj_size=8)
        self.drop = nn.Dropout(0.5)

    def forward(self, x):
        h = x.flatten(2) * self.weight
        match self.how:
            case "silu" | "mish":
                return getattr(F, self.how)(h)
            case "dropout":
                return self.drop(h)
            case "projection":
                return self.rnn(h)[0]
            case "gather":
                return h.gather(1, torch.zeros(len(h), 1, 192, dtype=torch.long, device=h.device))
            case "masked":
                return h.masked_fill(h > 0, 0.0)
            case "where":
                return torch.where(h > 0, h, h.new_zeros(()))
            case "logsumexp":
                return h.logsumexp(1)
            case "view of a weight":
                return self.weight.unflatten(0, (12, 16)) @ h.unflatten(2, (16, 12)).flatten(0, 1)
            case "attention":
                heads = h.unflatten(2, (12, 16)).transpose(1, 2)
                return F.scaled_dot_product_attention(heads, heads, heads)


class Acts(Base):
    """An agent that draws its action. torch reads the values to check that the distribution is valid."""

    def forward(self, x):
        policy = torch.distributions.Categorical(logits=self.rnn(self.vectors(x))[0])
        action = policy.sample()
        return policy.log_prob(action), policy.entropy()


class LastState(nn.Module):
    """Reads clips of 8 x 8 pixels and returns the last state, so that the outputs get no gradient."""

    def __init__(self):
        super().__init__()
        self.rnn = nn.LSTM(64, 64, batch_first=True)

    def forward(self, x):
        return self.rnn(x.flatten(2))[1][0][-1]


class Evaluated(Base):
    """A model that stays in evaluation mode while it is trained."""

    def train(self, _mode=True):
        return super().train(False)


@torch.library.custom_op("field::proj", mutates_args=())
def proj(x: Tensor, w: Tensor) -> Tensor:
    return x @ w.t()


@proj.register_fake
def _(x, w):
    return x.new_empty(*x.shape[:-1], w.shape[0])


def keep(ctx, inputs, output):
    ctx.save_for_backward(*inputs)


def proj_gradients(ctx, gradient):
    x, w = ctx.saved_tensors
    return gradient @ w, gradient.flatten(0, -2).t() @ x.flatten(0, -2)


proj.register_autograd(proj_gradients, setup_context=keep)


def proj_flops(x, w):
    return 2 * torch.Size(x).numel() * w[0]


class Own(nn.Module):
    """A projection by a custom operator."""

    def __init__(self):
        super().__init__()
        self.w = nn.Parameter(torch.randn(64, 3 * 16 * 16) * 0.01)
        self.lstm = nn.LSTM(64, 8, batch_first=True)

    def forward(self, x):
        return self.lstm(torch.ops.field.proj(x.flatten(2), self.w))[0]


class Heavy(nn.Module):
    """A model whose operators the counters all know."""

    def __init__(self):
        super().__init__()
        self.fc, self.lstm = nn.Linear(768, 128), nn.LSTM(128, 8, batch_first=True)

    def forward(self, x):
        return self.lstm(self.fc(x.flatten(2)))[0]


class Resized(Base):
    """Resizes its frames, and sorts them into two kinds by their mean."""

    def forward(self, x):
        larger = F.interpolate(x.flatten(0, 1), scale_factor=2, mode="bilinear")
        kinds = F.one_hot((x.mean((2, 3, 4)) > 0).long(), 2).float()
        return super().forward(larger.unflatten(0, x.shape[:2])) * kinds.sum()


class Vanishing(nn.Module):
    """Returns zeros in channels_last, so that this variant is wrong."""

    def forward(self, x):
        return x * float(x.is_contiguous())


class VanishingArrays(Vanishing):
    """Returns the same as a numpy array, the form in which policies return actions."""

    def forward(self, x):
        return super().forward(x).numpy()


def numpy_clips(clip: Clip):
    shape = (clip.batch, clip.frames, clip.channels, clip.height, clip.width)
    return torch.from_numpy(np.random.rand(*shape).astype("float32"))


def python_clips(clip: Clip):
    return clips(clip).fill_(1.0) * random.random()


class Drawn(Base):
    """Draws initial values from numpy and Python."""

    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.from_numpy(np.random.rand(6)) * random.random())


class Unfilled(Base):
    """Has other weights whenever it is built, as with ``torch.empty``, whatever the seed."""

    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(random.SystemRandom().random()))

    def forward(self, x):
        return super().forward(x) + self.scale


# --- Stages -----------------------------------------------------------------------------------------------------------


class Cells(nn.Module):
    """A convolution and a step of the LSTM cell for each frame."""

    def __init__(self):
        super().__init__()
        self.cnn, self.cell, self.head = nn.Conv2d(3, 4, 3, stride=2), nn.LSTMCell(900, 8), nn.Linear(8, 2)

    def forward(self, x):
        state, outputs = None, []
        for frame in x.unbind(1):
            state = self.cell(self.cnn(frame).flatten(1), state)
            outputs.append(self.head(state[0]))
        return torch.stack(outputs, 1)


class Core(nn.Module):
    def __init__(self):
        super().__init__()
        self.rnn = nn.LSTM(900, 8, batch_first=True)

    def observe(self, x):
        return self.rnn(x)[0]


def scripted_core() -> nn.Module:
    """Return a core of a class with scripted methods, the way in which agents of 2019 were sped up."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")

        class ScriptedCore(torch.jit.ScriptModule):
            def __init__(self):
                super().__init__()
                self.rnn = nn.LSTM(900, 8, batch_first=True)

            @torch.jit.script_method
            def forward(self, x):
                return self.rnn(x)[0]

            @torch.jit.script_method
            def observe(self, x):
                return self.rnn(x)[0]

        return ScriptedCore()


class Used(nn.Module):
    """Uses its parts in other ways than by calling them."""

    def __init__(self, how: str):
        super().__init__()
        self.how = how
        self.cnn = nn.ModuleList([nn.Conv2d(3, 4, 3, stride=2)])
        self.core = scripted_core() if how.startswith("scripted") else Core()
        if how == "alias":
            self.policy = nn.ModuleDict({"core": self.core, "cnn": self.cnn})

    def forward(self, x):
        conv = self.cnn[0].forward if self.how == "direct" else self.cnn[0]
        vectors = conv(x.flatten(0, 1)).flatten(1).unflatten(0, x.shape[:2])
        if self.how == "scripted call":
            return self.core(vectors)
        return self.core.rnn(vectors)[0] if self.how == "inner" else self.core.observe(vectors)


class Root(nn.LSTM):
    def forward(self, x):
        return super().forward(x.flatten(2))


def root():
    return Root(3 * 32 * 32, 8, batch_first=True)


class Two(nn.Module):
    """Two convolutions, two LSTMs, and an encoder that shares its weight with the head."""

    def __init__(self):
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(3, 4, 3), nn.Conv2d(4, 4, 3)
        self.up, self.down = nn.LSTM(4, 8, batch_first=True), nn.LSTM(4, 8, batch_first=True)
        self.encoder, self.head = nn.Linear(16, 16), nn.Linear(16, 16)
        self.head.weight = self.encoder.weight

    def forward(self, x):
        maps = self.conv2(self.conv1(x.flatten(0, 1))).mean((2, 3)).unflatten(0, x.shape[:2])
        both = torch.cat((self.up(maps)[0], self.down(maps.flip(1))[0]), -1)
        return self.head(self.encoder(both))


# --- Outputs, losses, states ------------------------------------------------------------------------------------------


@dataclass
class Policy:
    action: Tensor
    value: Tensor
    name: str = "policy"


class Named(NamedTuple):
    action: Tensor
    value: Tensor


class Heads(Base):
    """Returns an action and a value in one of many forms."""

    def __init__(self, kind: str):
        super().__init__()
        self.kind = kind
        self.action, self.value = nn.Linear(20, 4), nn.Linear(20, 1)

    def forward(self, x):
        h = super().forward(x)
        action, value = self.action(h), self.value(h)
        match self.kind:
            case "dataclass":
                return Policy(action, value)
            case "named":
                return Named(action, value)
            case "nested":
                return {"heads": [action, {"value": (value,)}]}
            case "slots":
                return Slotted(deque(action.unbind(1)), defaultdict(list, value=[value]))
            case "complex":
                return torch.fft.fft(action, dim=1), value
            case "sparse":
                return action.to_sparse(), value
            case "empty":  # its mean would be NaN, and every weight after that
                return action[:, :0], value
            case "rows":
                return torch.nested.as_nested_tensor([*action]), torch.nested.as_nested_tensor(
                    [*value], layout=torch.jagged
                )
            case "future":
                with ThreadPoolExecutor(1) as pool:
                    return pool.submit(lambda: (action, value))
            case "packed":
                return pack_padded_sequence(action, [x.shape[1]] * x.shape[0], batch_first=True)
            case "distribution":
                return torch.distributions.Categorical(logits=action, validate_args=False), value
        return action, value


def heads(kind: str = "tuple"):
    return Heads(kind)


def action_loss(output, x):
    assert x.dim() == 5
    return output[0].square().mean()


class Remembers(Base):
    """Keeps its state from call to call, and converts its output to numpy, which has no bfloat16."""

    state = None

    def forward(self, x):
        output, self.state = self.rnn(self.vectors(x), self.state)
        return torch.from_numpy(output.detach().numpy())


class Dropped(Base):
    """Drops out recurrent weights: in evaluation, dropout returns the parameter itself, which becomes one again."""

    def __init__(self):
        super().__init__()
        self.rnn.weight_raw = self.rnn._parameters.pop("weight_hh_l0")

    def forward(self, x):
        self.rnn.weight_hh_l0 = F.dropout(self.rnn.weight_raw, 0.5, self.training)
        return self.rnn.forward(self.vectors(x))[0]


SEEN: dict[str, torch.Tensor] = {}


class Stores(Base):
    """Keeps tensors: a constant, a cache by shape, the state that its next call continues, or what a hook saw.

    A constant may be in an object of the user's. What is in a reference cycle is garbage after the call.
    """

    BYTES = 4 * 300_000

    def __init__(self, how: str):
        super().__init__()
        self.how, self.cache, self.bank = how, {}, None
        self.options = vars(self)
        self.constant = torch.ones(300_000) if how == "constant" else None
        if how == "object":  # weights as public code of RWKV keeps them
            self.blocks = {0: SimpleNamespace(key=SimpleNamespace(weight=torch.ones(300_000)), owner=self)}
        if how == "hook":
            self.cnn.register_forward_hook(lambda _module, _inputs, maps: SEEN.update(maps=maps.new_ones(300_000)))

    def forward(self, x):
        if self.how == "cache" and x.shape not in self.cache:
            self.cache[x.shape] = [torch.ones(300_000, device=x.device)]
        if self.how == "state":
            self.bank = torch.zeros(300_000, device=x.device) if self.bank is None else self.bank.neg()
        if self.how == "cycle":
            ring = [torch.ones(300_000, device=x.device)]
            ring.append(ring)
        return super().forward(x)


class OwnState(Base):
    """Keeps its state itself. A frame is an image."""

    def start(self):
        self.state = None

    def frame(self, image):
        output, self.state = self.rnn(self.cnn(image).mean((2, 3)).unsqueeze(1), self.state)
        return output


def step(model, frame, state):
    if state is None:
        model.start()
    return model.frame(frame[:, 0]), True


def skip_every_second_frame(model, frame, state):
    """Repeat the last output for every second frame, as trackers do to save time."""
    output, is_due = state or (None, True)
    return (output := model(frame) if is_due else output), (output, not is_due)


class Flattens(Base):
    """Flattens its LSTM's weights in forward, as many CRNNs do, and prunes its head."""

    def __init__(self):
        super().__init__()
        self.head = prune.l1_unstructured(nn.Linear(20, 4), "weight", 0.5)

    def forward(self, x):
        self.rnn.flatten_parameters()
        return self.head(super().forward(x))


class Convolves(nn.Module):
    """Has neither a recurrent nor a linear layer."""

    def __init__(self):
        super().__init__()
        self.cnn = nn.Conv2d(3, 6, 3)

    def forward(self, x):
        return self.cnn(x.flatten(0, 1)).mean((2, 3))
