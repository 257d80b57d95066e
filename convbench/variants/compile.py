"""torch.compile in its modes, with the LSTM captured or not."""

from __future__ import annotations

import os
import shutil
import sysconfig
from dataclasses import replace
from pathlib import Path
from typing import Literal

import torch

from convbench.errors import Unavailable
from convbench.registry import variants
from convbench.subject import Subject


@variants.register("compile")
def compiled(
    subject: Subject,
    *,
    mode: Literal["default", "reduce-overhead", "max-autotune"] = "default",
    rnn: bool = False,
) -> Subject:
    """torch.compile; by default dynamo leaves the LSTM out, ``rnn=true`` captures it at the price of compile time."""
    if subject.device == "cpu":
        _needs_toolchain()
    allow_rnn(rnn)
    return replace(subject, forward=torch.compile(subject.forward, mode=mode))


def missing_tool() -> str | None:
    """What torch.compile lacks on this machine to build for the CPU, and how to get it; None where it has all."""
    if not any(map(shutil.which, (os.environ.get("CXX", "g++"), "g++", "clang++"))):
        return "there is no C++ compiler: on Debian, apt-get install g++"
    if not Path(sysconfig.get_path("include"), "Python.h").exists():
        return "Python.h is missing: on Debian, apt-get install python3-dev"
    return None


def _needs_toolchain() -> None:
    if missing := missing_tool():
        raise Unavailable(f"torch.compile cannot build here: {missing}")


def allow_rnn(allowed: bool) -> None:
    """Whether dynamo traces into LSTM and GRU in this process."""
    torch._dynamo.config.allow_rnn = allowed
