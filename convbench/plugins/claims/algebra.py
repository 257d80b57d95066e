"""Claims about LSTM and FC layers that algebra decides, shown on real, seeded layers in milliseconds."""

from __future__ import annotations

from functools import cache
from itertools import pairwise

import torch
from torch import nn

from convbench.analysis.claims.claim import Judgement, Number, claim
from convbench.analysis.claims.evidence import Evidence
from convbench.core.scales import percent
from convbench.report.words import units

HIDDEN, SEED = 128, 0
SIZES = (32, 64, 128, 512, 4096, 131_072)
LARGE = 10
ROUNDING = 1e-6


@claim(
    3,
    "An LSTM takes vectors, not feature maps",
    quote="LSTMs, despite their ability to handle sequential data, are fundamentally designed to process vectors, not "
    "multidimensional tensors.",
    prediction="nn.LSTM takes a sequence of vectors and raises an error for a sequence of maps.",
    experiment="nn.LSTM is called on a sequence of vectors (B, T, D), of maps (B, T, C, W) and (B, T, C, H, W).",
)
def vectors_only(_: Evidence) -> Judgement:
    lstm = nn.LSTM(8, 4, batch_first=True)
    shapes = ((1, 2, 8), (1, 2, 3, 8), (1, 2, 3, 8, 8))
    return judge_vectors_only({len(shape): _takes(lstm, shape) for shape in shapes})


@claim(
    4,
    "Fed with 131,072 values, an LSTM has a sheer number of parameters",
    quote="The sheer number of parameters within the LSTM required to handle such a high-dimensional input often leads "
    "to overfitting and extended training times.",
    prediction=f"The parameters grow linearly with the LSTM input D, by exactly 4H = {4 * HIDDEN} for each value, to "
    f"more than {LARGE} times those of GAP's 32 values.",
    experiment=f"nn.LSTM(D, {HIDDEN}) is built on torch's meta device for D from 32 to 131,072 and its parameters "
    "counted.",
)
def parameters(_: Evidence) -> Judgement:
    with torch.device("meta"):
        counts = {size: sum(p.numel() for p in nn.LSTM(size, HIDDEN).parameters()) for size in SIZES}
    return judge_parameters(counts, HIDDEN)


@claim(
    9,
    "An FC layer retains all the information of the flattened vector",
    quote="FCL retains all the information from the flattened vector while mapping it to desired dimensions with an "
    "aim to discard redundant or less relevant information.",
    prediction="No two clearly different feature maps give the same output of the FC layer.",
    experiment="The article's FC layer (131,072 to 128, seeded, float64) and a feature map x > 0; n is a random "
    "direction less its part in the row space of the weight, scaled so that x + n is a feature map too. Both go "
    "through the layer.",
)
def retention(_: Evidence) -> Judgement:
    return judge_retention(*_twin_inputs())


def judge_vectors_only(takes: dict[int, bool]) -> Judgement:
    """Supported if nn.LSTM takes three dimensions and no more; ``takes`` is by the number of dimensions."""
    numbers = tuple(
        Number(f"Input of {dims} dimensions taken (1 yes, 0 no)", float(took)) for dims, took in takes.items()
    )
    if not takes[3]:
        return Judgement("refuted", "nn.LSTM does not even take a sequence of vectors.", numbers)
    if extra_dims := [dims for dims, took in takes.items() if took and dims > 3]:
        return Judgement("refuted", f"nn.LSTM takes an input of {extra_dims[0]} dimensions.", numbers)
    return Judgement("supported", "nn.LSTM raises an error for every input of more than three dimensions.", numbers)


def judge_parameters(counts: dict[int, int], hidden_size: int) -> Judgement:
    """Supported if each further value costs exactly 4H parameters and the largest has LARGE times the smallest's."""
    sizes = sorted(counts)
    low, high = sizes[0], sizes[-1]
    slopes = {(counts[b] - counts[a]) / (b - a) for a, b in pairwise(sizes)}
    ratio = counts[high] / counts[low]
    numbers = (
        *(Number(f"Parameters at D = {size:,}", counts[size]) for size in sizes),
        *(Number("Parameters for each further value", slope) for slope in sorted(slopes)),
        Number(f"Parameters at D = {high:,} over those at D = {low:,}", ratio, "×"),
    )
    if slopes != {4 * hidden_size}:
        return Judgement("refuted", f"The parameters do not grow by 4H = {4 * hidden_size} for each value.", numbers)
    times = units.factor(ratio)
    if ratio < LARGE:
        return Judgement("refuted", f"The largest has only {times} the parameters of the smallest.", numbers)
    why = f"Exactly {4 * hidden_size} parameters for each value: {times} as many at {high:,} as at {low:,}."
    return Judgement("supported", why, numbers)


def judge_retention(inputs: int, rank: int, output_difference: float, input_difference: float) -> Judgement:
    """Refuted if two clearly different inputs have the same output; differences are relative, by norm."""
    numbers = (
        Number("Values that go in", inputs),
        Number("Rank of the weight", rank),
        Number("Directions in which the input can change unseen", inputs - rank),
        Number("Difference of the two inputs, relative", input_difference, "share"),
        Number("Difference of their outputs, relative", output_difference, "share"),
    )
    if rank < inputs and output_difference < ROUNDING < 0.01 < input_difference:
        change = percent(input_difference, places=0)
        why = (
            f"False by algebra: the weight has rank {rank}, so the input can change in {inputs - rank:,} directions "
            f"that the output does not see; here by {change} with the same output to rounding."
        )
        return Judgement("refuted", why, numbers)
    return Judgement("supported", "No two clearly different inputs with the same output were found.", numbers)


def _takes(lstm: nn.LSTM, shape: tuple[int, ...]) -> bool:
    try:
        lstm(torch.zeros(shape))
    except (RuntimeError, ValueError):
        return False
    return True


def _relative_difference(reference: torch.Tensor, other: torch.Tensor) -> float:
    return float((reference - other).norm() / reference.norm())


@cache
def _twin_inputs() -> tuple[int, int, float, float]:
    """Return the arguments of ``judge_retention`` for two inputs that the article's FC layer cannot tell apart."""
    generator = torch.Generator().manual_seed(SEED)
    inputs, units = 131_072, 128
    weight = (2 * torch.rand(units, inputs, generator=generator, dtype=torch.float64) - 1) / inputs**0.5
    bias = torch.zeros(units, dtype=torch.float64)
    x = 1 + torch.rand(inputs, generator=generator, dtype=torch.float64)
    n = torch.rand(inputs, generator=generator, dtype=torch.float64) - 0.5
    gram = weight @ weight.T
    n -= weight.T @ torch.linalg.solve(gram, weight @ n)
    output, other_output = (nn.functional.linear(value, weight, bias) for value in (x, x + n))
    rank = int(torch.linalg.matrix_rank(gram))
    return (inputs, rank, _relative_difference(output, other_output), _relative_difference(x, x + n))
