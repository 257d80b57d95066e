"""Claims about sizes that follow from arithmetic, found by building the layers instead of multiplying."""

from __future__ import annotations

from convbench.analysis.claims.claim import Judgement, Number, claim
from convbench.analysis.claims.evidence import Evidence
from convbench.core.record import Choice, Features
from convbench.models import network

CONV = Choice("conv")
FLATTENED, POOLED, UNITS = 131_072, 32, 128
DESCRIBES = 10
"""“Less than half” is a fair description if a share is less than half by no more than this factor."""


def article_map() -> Features:
    """Return the shape of the feature map of the article's convolution on its 64 x 64 frames."""
    return network.feature_shape(CONV, 3, 64, 64)


@claim(
    1,
    "A 64×64×32 feature map flattens to 131,072 values",
    quote="Let's assume our hypothetical 64x64x32 feature map. Flattening this gives us a vector of length "
    "64 * 64 * 32 = 131,072.",
    prediction="The article's convolution on a 64×64 frame, flattened, is a vector of 131,072 values.",
    experiment="Its layers are built on torch's meta device and the size of what comes out is read.",
)
def flattening(_: Evidence) -> Judgement:
    return judge_size("flatten", network.vector_size(Choice("flatten"), article_map(), None), FLATTENED)


@claim(
    2,
    "GAP reduces that map to 32 values",
    quote="For example, the 64x64x32 feature maps will result in 32 output vector size after a GAP layer, which is "
    "significant reduction compared to flattening directly.",
    prediction="The same map after global average pooling is a vector of 32 values.",
    experiment="Its layers are built on torch's meta device and the size of what comes out is read.",
)
def pooling(_: Evidence) -> Judgement:
    return judge_size("GAP", network.vector_size(Choice("gap"), article_map(), None), POOLED)


@claim(
    14,
    "An FC layer's output is often less than half of the flattened vector",
    quote="a `Linear` layer (the FC layer) reduces the dimension to a pre-defined size using a learned weights, often "
    "less than half of the original flattened vector size",
    prediction=f"The article's own FC layer keeps less than half, and half is a fair description of it (within "
    f"{DESCRIBES}×).",
    experiment="Arithmetic on the article's example: 128 units on a flattened vector of 131,072.",
)
def half(_: Evidence) -> Judgement:
    return judge_half(UNITS, network.vector_size(Choice("flatten"), article_map(), None))


def judge_size(reducer: str, length: int, expected: int) -> Judgement:
    """Supported if the size is the one that the article names."""
    numbers = (Number(f"Size of the vector after {reducer}", length), Number("Size in the article", expected))
    if length == expected:
        return Judgement("supported", f"The vector after {reducer} has exactly {length:,} values.", numbers)
    return Judgement("refuted", f"The vector after {reducer} has {length:,} values, not {expected:,}.", numbers)


def judge_half(units: int, inputs: int) -> Judgement:
    """Refuted if the layer keeps half or more; else supported, and the text says if “less than half” describes it."""
    share, parameters = units / inputs, (inputs + 1) * (inputs // 2)
    numbers = (
        Number("Share of the flattened vector that the article's FC layer keeps", share, "share"),
        Number("How much less than half that is", 0.5 / share, "×"),
        Number("Parameters of an FC layer that keeps half", parameters),
    )
    if share >= 0.5:
        return Judgement("refuted", f"It keeps {units:,} of {inputs:,}, which is not less than half.", numbers)
    if 0.5 / share <= DESCRIBES:
        return Judgement("supported", f"It keeps {units:,} of {inputs:,}: less than half, and near it.", numbers)
    why = (
        f"True, and of no use as a guide: {units:,} of {inputs:,} is {0.5 / share:,.0f} times less than half, "
        f"and a layer that did keep half would have {parameters / 1e9:.1f} G parameters."
    )
    return Judgement("supported", why, numbers)
