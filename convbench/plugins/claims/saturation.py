"""Why a large LSTM input may hurt: torch draws the weights from the same range for every size, so gates saturate."""

from __future__ import annotations

import math
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cache

import torch
from torch import nn

from convbench.analysis.claims.claim import Curve, Judgement, Lacking, Number, Plot, Point, claim
from convbench.analysis.claims.evidence import TRAIN, Evidence, left_out
from convbench.analysis.claims.paired import MARGIN, SOME, Difference, pair_difference, quantify, verdict_of
from convbench.analysis.claims.standings import below
from convbench.core.text import joined

HIDDEN, SEED, SAMPLES = 128, 0, 16
SIZES = (32, 128, 512, 4096, 32_768, 131_072)
EDGE = math.log(99)
"""A gate is saturated if its absolute input exceeds this: its sigmoid is then within 1 % of 0 or 1."""

MOST, FEW = 0.5, 0.05


@dataclass(frozen=True)
class Gates:
    """The gates' inputs before training at one LSTM input size: their spread, and the share that is saturated."""

    std: float
    saturation: float


Inits = Mapping[str, Mapping[int, Gates]]


@claim(
    17,
    "Feeding the whole map into an LSTM is detrimental to performance",
    quote="feeding the entire 64x64x32 tensor directly into an LSTM unit would be highly inefficient and, in many "
    "cases, detrimental to performance.",
    prediction="The size itself is what hurts: with any common initialisation the gates of an LSTM of 131,072 inputs "
    "are saturated before training; or trained, flatten is more than 2 points below the best smaller input in some "
    "tasks, as “in many cases” says.",
    experiment="nn.LSTM(D, 128) as torch draws it, its inputs the ReLU of normal values: the spread of the gates' "
    "inputs and the share within 1 % of 0 or 1; the same with LayerNorm before it and with weights drawn by fan-in "
    "(±1/√D instead of ±1/√H). From trainings: flatten against the best smaller input, allowing for that one's having "
    "been selected by the same seeds, and with against without LayerNorm, paired by seed.",
)
def detriment(evidence: Evidence) -> Judgement:
    return judge(_measure(), *_differences(evidence))


def judge(
    inits: Inits, losses: list[Difference], gains: list[Difference], exclusions: tuple[Number, ...] = (), size: int = 0
) -> Judgement:
    """Supported if most gates saturate with both initialisations; else trainings decide, or it is "not tested".

    Trainings support it if flatten loses more than the margin in some task, and refute it if no such loss is possible.
    ``size`` is that of the map that was trained.
    """
    largest = max(inits["torch's default"])
    default, fan_in = inits["torch's default"][largest].saturation, inits["fan-in"][largest].saturation
    verdicts = (
        quantify([loss.low > MARGIN for loss in losses], [loss.high < MARGIN for loss in losses]) if losses else ()
    )
    trained_verdict = verdict_of(SOME, verdicts) if verdicts else "not tested"
    verdict = "supported" if default > MOST and fan_in > MOST else trained_verdict
    numbers = [*_numbers(inits), *(loss.number(f"{loss.where}: best smaller less flatten") for loss in losses)]
    numbers += [gain.number(f"{gain.where}: flatten with LayerNorm less without") for gain in gains]
    why = f"{_initial_words(largest, inits)} {_training_words(losses, gains, size)}"
    return Judgement(verdict, why, (*numbers, *exclusions), _plot(inits), verdicts)


def _initial_words(largest: int, inits: Inits) -> str:
    default, fan_in, layer_norm = (
        100 * inits[name][largest].saturation for name in ("torch's default", "fan-in", "LayerNorm")
    )
    cause = "the initialisation" if default > 100 * MOST and fan_in < 100 * FEW else "the size"
    return (
        f"At D = {largest:,} {default:.0f} % of the gates are saturated before training with torch's default, "
        f"{fan_in:.0f} % with weights drawn by fan-in and {layer_norm:.0f} % with LayerNorm"
        + (f", so it is {cause} that saturates them." if default > 100 * FEW else ".")
    )


def _training_words(losses: list[Difference], gains: list[Difference], size: int) -> str:
    if not losses:
        return f"What flatten learns decides then, which takes trainings: {TRAIN}."
    lost_tasks = [loss.where for loss in losses if loss.low > MARGIN]
    close_tasks = [loss.where for loss in losses if loss.high < MARGIN]
    helped_tasks = [gain.where for gain in gains if gain.is_shown]
    return (
        f"Trained{f' (a map of {size:,})' if size else ''}, flatten is shown to be more than 2 points below the best "
        f"smaller input on {joined(lost_tasks)}, and to be less than 2 points below it on {joined(close_tasks)}; "
        f"LayerNorm is shown to help it on {joined(helped_tasks)}."
    )


@cache
def _measure() -> Inits:
    inits: dict[str, dict[int, Gates]] = {"torch's default": {}, "LayerNorm": {}, "fan-in": {}}
    generator = torch.Generator().manual_seed(SEED)
    for size in SIZES:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(SEED)
            lstm = nn.LSTM(size, HIDDEN)
        x = torch.randn(SAMPLES, size, generator=generator).relu()
        x_norm = nn.functional.layer_norm(x, (size,))
        weights = {key: value.detach() for key, value in lstm.named_parameters()}
        bias = weights["bias_ih_l0"] + weights["bias_hh_l0"]
        with torch.inference_mode():
            inputs = {"torch's default": x @ weights["weight_ih_l0"].T, "LayerNorm": x_norm @ weights["weight_ih_l0"].T}
            inputs["fan-in"] = inputs["torch's default"] * (HIDDEN / size) ** 0.5
            for name, values in inputs.items():
                gates = values + bias
                inits[name][size] = Gates(float(gates.std()), float((gates.abs() > EDGE).float().mean()))
    return inits


def _differences(evidence: Evidence) -> tuple[list[Difference], list[Difference], tuple[Number, ...], int]:
    """Return, by task, the best smaller input less flatten, and flatten with LayerNorm less flatten without.

    Also return what was left out, and the size of the map, which is the same for all: they share backbone and clip.
    """
    losses, gains, sources, largest = [], [], [], 0
    for task in evidence.tasks:
        qualities = evidence.on(task)
        candidates = [quality for quality in qualities.values() if quality.architecture.reducer.name == "flatten"]
        plain_candidates = [quality for quality in candidates if not quality.architecture.layer_norm]
        if not plain_candidates:
            continue
        flatten = max(plain_candidates, key=lambda quality: quality.architecture.lstm_input or 0)
        largest = flatten.architecture.lstm_input or 0
        rivals = [quality for quality in qualities.values() if (quality.architecture.lstm_input or largest) < largest]
        norm_candidates = [quality for quality in candidates if quality.architecture.layer_norm]
        with suppress(Lacking):
            if rivals:
                loss = below(task, [*rivals, flatten], among=len(rivals))[-1]
                losses += [loss] if loss else []
                sources += [*rivals, flatten]
            gains += [pair_difference(task, quality.by_seed, flatten.by_seed) for quality in norm_candidates]
            sources += norm_candidates
    return losses, gains, left_out(sources), largest


def _numbers(inits: Inits) -> list[Number]:
    numbers = []
    for name, sizes in inits.items():
        for size in (min(sizes), max(sizes)):
            numbers.append(Number(f"{name}, D = {size:,}: standard deviation of the gates' inputs", sizes[size].std))
            numbers.append(Number(f"{name}, D = {size:,}: gates saturated", sizes[size].saturation, "share"))
    return numbers


def _plot(inits: Inits) -> Plot:
    curves = [
        Curve(name, tuple(Point(size, gates.saturation) for size, gates in sorted(sizes.items())))
        for name, sizes in inits.items()
    ]
    return Plot(
        "Gates saturated before training",
        "How to read this: the share of gates within 1 % of 0 or 1 at initialisation, for inputs that are the ReLU of "
        f"normal values; {SAMPLES} vectors through an LSTM of hidden size {HIDDEN}.",
        ("LSTM input size", "size"), ("Share of gates", "share"), tuple(curves),
    )  # fmt: skip
