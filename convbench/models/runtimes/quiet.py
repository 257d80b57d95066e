"""Exporters and quantisers print progress and warn of what does not concern the model."""

from __future__ import annotations

import io
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout

import torch

ASKED = "_jit_is_onnx_log_enabled"
"""What torch means to ask before it prints the whole graph of a model that its older exporter cannot write.

It looks only whether there is such a function.
"""


@contextmanager
def quiet() -> Iterator[None]:
    """Without their warnings and prints for a while; errors are raised as ever."""
    level, function = logging.root.manager.disable, getattr(torch._C, ASKED, None)
    logging.disable(logging.WARNING)
    setattr(torch._C, ASKED, None)
    try:
        with warnings.catch_warnings(), redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        setattr(torch._C, ASKED, function)
        logging.disable(level)
