"""Run a model as a variant does, in int8 or another runtime: its classes for clips, and its features of pictures."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import torch
from torch import nn

from convbench.core.errors import CaseFailed, Impossible, Unavailable
from convbench.core.record import Case, Clip
from convbench.measure.quality.data import Labelled
from convbench.models.inputs import Inputs
from convbench.models.network import ConvReducerRNN, in_mode
from convbench.models.runtimes.int8 import FEWEST
from convbench.models.subject import Subject, assemble, transform

SAMPLES = 64
"""The most batches of the task's clips with which int8 ranges may be found."""
OfClips = Callable[[torch.Tensor], torch.Tensor]


def scores_of(case: Case, model: nn.Module, examples: Labelled) -> OfClips:
    """Return a function from clips (N, T, C, H, W) to the head's output after the last frame, run in the variant.

    The model is exported for the case's batch; smaller batches are padded with zeros. ``examples`` are the clips that
    it was trained on: int8 ranges are found with the first of them, repeated if they are few. Raises CaseFailed if the
    model cannot be exported.
    """
    shape = (case.clip.batch, *examples.clips.shape[1:])
    clip, min_clips = Clip(*shape), FEWEST * shape[0]
    clips = examples.clips[: SAMPLES * shape[0]]
    if len(clips) < min_clips:
        clips = clips.repeat(math.ceil(min_clips / len(clips)), 1, 1, 1, 1)
    batches = [batch for batch in torch.split(clips, shape[0]) if len(batch) == shape[0]]
    samples = tuple(Inputs((batch.to(case.device),)) for batch in batches)
    inference = replace(case, clip=clip, trial=None, scenario="inference")
    eager = replace(assemble(inference, 0, model=in_mode(model, training=False)), samples=samples)
    subject = transform(replace(eager, inputs=samples[0]))
    kind = subject.inputs.tensors[0].dtype

    @torch.inference_mode()
    def scores(clips: torch.Tensor) -> torch.Tensor:
        return torch.cat([_last_scores(subject, batch, shape[0], kind) for batch in torch.split(clips, shape[0])])

    return scores


def names_of(case: Case, model: nn.Module, examples: Labelled) -> OfClips:
    """Return a function from clips to the classes that the model predicts in the case's variant."""
    scores = scores_of(case, model, examples)
    return lambda clips: scores(clips).argmax(-1).cpu()


def features_of(case: Case, model: ConvReducerRNN, examples: Labelled) -> OfClips:
    """Return a function from pictures (N, C, H, W) to features (N, D) of backbone and reducer, run in the variant.

    ``examples`` are pictures with which int8 ranges may be found. Raises Unavailable if the variant cannot run a model
    without its LSTM, such as int8 that would quantise nothing else.
    """
    extractor = ConvReducerRNN(model.backbone, model.reducer, _NoLSTM(), nn.Identity())  # type: ignore[arg-type]
    try:
        scores = scores_of(case, extractor, Labelled(examples.clips[:, None], examples.labels))
    except (CaseFailed, Impossible) as error:
        raise Unavailable(f"backbone and reducer alone cannot be run as {case.variant_name}: {error}") from error
    return lambda pictures: scores(pictures[:, None])


class _NoLSTM(nn.Module):
    """Passes on the reducer's output."""

    def forward(self, vectors: torch.Tensor, state: None) -> tuple[torch.Tensor, None]:
        return vectors, state


def _last_scores(subject: Subject, clips: torch.Tensor, batch: int, kind: torch.dtype) -> torch.Tensor:
    padding = batch - len(clips)
    full_batch = torch.cat([clips, clips.new_zeros(padding, *clips.shape[1:])]) if padding else clips
    outputs: torch.Tensor = subject.forward(full_batch.to(subject.device, kind))[0]
    return outputs[: len(clips), -1].float().clone()
