"""Silence exporters and quantisers, which print progress and give warnings that do not concern the model."""

from __future__ import annotations

import io
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout

import torch

LOG_CHECK = "_jit_is_onnx_log_enabled"
"""The function that torch checks before it prints the whole graph of a model that its older exporter cannot write.

torch only checks that the function exists and does not call it.
"""


@contextmanager
def quiet() -> Iterator[None]:
    """Suppress warnings, log messages and prints in the block. Errors are still raised."""
    level, function = logging.root.manager.disable, getattr(torch._C, LOG_CHECK, None)
    logging.disable(logging.WARNING)
    setattr(torch._C, LOG_CHECK, None)
    try:
        with warnings.catch_warnings(), redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        setattr(torch._C, LOG_CHECK, function)
        logging.disable(level)
