"""What the forkserver imports once for cases that are compiled, besides what every case needs; a module of effects.

Which vector instructions the compiler may use is asked by building and loading a library in a process of its own, which
costs more than a compile that is cached: asked here, every child knows it.

Where there may be a GPU nothing is imported: the compiler then asks CUDA about it, and no child of a process that did
so can use the device.
"""

from __future__ import annotations

import gc
import warnings
from contextlib import suppress
from importlib import import_module

from convbench.core import code
from convbench.measure.machine import nvml

ANY_COMPILE = ("torch.distributed.tensor.experimental._func_map", "sympy.physics.units", "sympy.tensor.tensor")
"""What any graph makes the compiler import besides: a fifth of a second."""

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # as in forkserver_imports
    if nvml.rules_out_a_gpu():
        import torch._inductor.codegen.cpp
        import torch._inductor.compile_fx  # noqa: F401
        from torch._inductor import cpu_vec_isa

        for name in ANY_COMPILE:
            with suppress(ImportError):  # of this version of torch
                import_module(name)
        with suppress(Exception):  # without a compiler: its absence is each case's own finding
            cpu_vec_isa.pick_vec_isa()

code.files()  # as in forkserver_imports
gc.collect()
gc.freeze()
