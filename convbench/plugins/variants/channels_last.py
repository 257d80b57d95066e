"""channels_last: the model and the clip in NHWC memory order."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from convbench.core.registry import declares, variants
from convbench.core.traits import VariantTraits

if TYPE_CHECKING:
    from convbench.models.subject import Subject


@variants.register("channels_last")
@declares(VariantTraits(same_tensors=True, channels_last=True))
def channels_last(subject: Subject) -> Subject:
    """Convolution weights and frames in NHWC order; the clip is converted once, before timing."""
    from convbench.models import weights

    inputs = subject.inputs.channels_last(subject.case.clip)
    return replace(subject, model=weights.channels_last(subject.model), inputs=inputs)
