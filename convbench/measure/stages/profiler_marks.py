"""What a profile of a call records, and our own marks in it: phases, stages, and where the backward pass moves on."""

from __future__ import annotations

import threading
from contextlib import AbstractContextManager
from typing import Any

import torch
from torch.profiler import ProfilerActivity, record_function

from convbench.measure.stages.spans import BACKWARD, PREFIX
from convbench.models.subject import Subject
from convbench.models.values import storage_tensors


def activities(subject: Subject) -> list[ProfilerActivity]:
    """Return what the profiler must record for a call of the subject: on a GPU, its kernels too."""
    return [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if subject.on_gpu else [])]


class Marks:
    """A listener that puts marks among the profiler's events. ``outputs``: addresses of the stages' outputs."""

    def __init__(self) -> None:
        self._threads = threading.local()
        self.outputs: set[int] = set()

    def enters(self, stage: str) -> None:
        mark: Any = record_function(PREFIX + stage)
        vars(self._threads).setdefault("open", []).append(mark)
        mark.__enter__()

    def leaves(self, _stage: str, outputs: list[torch.Tensor]) -> None:
        self._threads.open.pop().__exit__(None, None, None)
        self.outputs |= {part.untyped_storage().data_ptr() for output in outputs for part in storage_tensors(output)}

    def reverses(self, stage: str) -> None:
        with record_function(BACKWARD + stage):
            pass

    def phase(self, name: str) -> AbstractContextManager[Any]:
        return record_function(PREFIX + name)
