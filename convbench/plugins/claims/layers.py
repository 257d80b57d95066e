"""The FC layer before the LSTM: without an activation it folds into the LSTM; with one, does it learn more?"""

from __future__ import annotations

from functools import cache

import torch
from torch import nn

from convbench.analysis.claims.claim import Judgement, Lacking, Number, Verdict, claim
from convbench.analysis.claims.evidence import TRAIN, Evidence, left_out
from convbench.analysis.claims.paired import MOST, by_verdict, compare, gains, verdict_of
from convbench.core.record import Case, Choice, Clip, Parts, Recurrent
from convbench.models import network

SEED, SAME, OTHER = 0, 1e-5, 1e-3
GATE_UNITS = 4 * Recurrent().hidden
"""Rows of the LSTM's input weights: four gates."""
CHANNELS, UNITS = 32, 64
PLAIN, ACTIVE = "fc 64", "fc(activation=true) 64"


@claim(
    12,
    "The hybrid reduces GAP's vector further and adds a non-linear transformation",
    quote="The idea here is to keep a compact representation of the feature maps using GAP and to perform an "
    "additional learned non-linear transformation to obtain the input to the LSTM.",
    prediction="The hybrid is not a function that GAP and an LSTM of the same hidden size can be, and its FC layer's "
    "output is smaller than its input.",
    experiment="The article's hybrid is built, its FC layer folded into the LSTM (W_ih W and b_ih + W_ih b) and both "
    "run on a random clip; the same fold with a ReLU in between is the check that a difference would be seen.",
)
def hybrid(_: Evidence) -> Judgement:
    plain_error, active_error = (_fold_error(activation) for activation in (False, True))
    return judge_hybrid(plain_error, active_error, CHANNELS, UNITS)


@claim(
    13,
    "The FC layer is a linear layer and a non-linear activation",
    quote="I typically design a layer that maps the large flattened vector to a significantly smaller dimension via a "
    "weight matrix followed by a non-linear activation function.",
    prediction="With the activation that the text names and the code leaves out, more is learnt in most tasks.",
    experiment="FC with 64 units on a small strided backbone, trained with and without ReLU on each task; test "
    "accuracy, paired by seed.",
)
def activation_gain(evidence: Evidence) -> Judgement:
    tasks = [task for task in evidence.tasks if {PLAIN, ACTIVE} <= evidence.on(task).keys()]
    if not tasks:
        raise Lacking(f"Trainings of FC with and without activation are needed: {TRAIN}.")
    cells = {task: evidence.pair(task, ACTIVE, PLAIN) for task in tasks}
    differences, numbers = compare(cells, "with ReLU", "without", "with ReLU less without")
    exclusions = left_out(quality for pair in cells.values() for quality in pair)
    why = f"A gain from the activation is {by_verdict(differences)}; the article's code has none."
    verdicts = gains(differences)
    return Judgement(verdict_of(MOST, verdicts), why, (*numbers, *exclusions), None, verdicts)


def judge_hybrid(plain_error: float, active_error: float, inputs: int, outputs: int) -> Judgement:
    """Refuted if the layer folds away and expands, supported if neither, else "depends"; errors are relative.

    Raises Lacking if the check with an activation shows no difference either: the test could then see none.
    """
    savings = (inputs + 1) * outputs + GATE_UNITS * (outputs - inputs)
    numbers = (
        Number("Hybrid less GAP with the folded LSTM, largest difference, relative", plain_error, "share"),
        Number("The same fold with a ReLU in between", active_error, "share"),
        Number("Values into the FC layer", inputs),
        Number("Values out of it", outputs),
        Number("Parameters that the folded model has fewer", savings),
    )
    if active_error < OTHER:
        raise Lacking("The clip is too small a test: even with a ReLU the fold makes no difference.")
    is_same, expands = plain_error < SAME, outputs >= inputs
    same = "Without an activation in the article's code the hybrid computes exactly what GAP with a folded LSTM does"
    why = same if is_same else "The hybrid is another function than GAP's"
    why += f", and its FC layer takes {inputs} values to {outputs}: {'no reduction' if expands else 'a reduction'}."
    verdict: Verdict = "refuted" if is_same and expands else "depends" if is_same or expands else "supported"
    return Judgement(verdict, why, numbers)


@cache
def _fold_error(activation: bool) -> float:
    """Return the largest difference of GAP with the folded LSTM from the hybrid, over the hybrid's largest output."""
    options = (("activation", True),) if activation else ()
    model = network.build(Case(Parts(Choice("conv"), Choice("hybrid", options), UNITS), Clip(frames=4)), SEED, "cpu")
    assert isinstance(model, network.ConvReducerRNN)
    fc = next(layer for layer in model.reducer.modules() if isinstance(layer, nn.Linear))
    clip = torch.randn(1, 4, 3, 64, 64, generator=torch.Generator().manual_seed(SEED)).mul(4)
    with torch.inference_mode():
        expected = model(clip)[0]
        vectors = model.backbone(clip.flatten(0, 1)).mean((2, 3)).unflatten(0, (1, 4))
        output = _fold(model.lstm, fc)(vectors)[0]
    return float((output - expected).abs().max() / expected.abs().max())


def _fold(lstm: nn.RNNBase, fc: nn.Linear) -> nn.LSTM:
    """Return an LSTM that computes what the linear layer and the LSTM compute together."""
    layer = nn.LSTM(fc.in_features, lstm.hidden_size, batch_first=True)
    weights = {key: value.detach() for key, value in lstm.named_parameters()}
    weights["bias_ih_l0"] = weights["bias_ih_l0"] + weights["weight_ih_l0"] @ fc.bias
    weights["weight_ih_l0"] = weights["weight_ih_l0"] @ fc.weight
    layer.load_state_dict(weights)
    return layer
