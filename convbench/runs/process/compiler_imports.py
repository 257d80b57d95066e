"""What the forkserver imports once for compiled cases, besides what every case needs. Importing this module does it.

To learn which vector instructions the compiler may use, torch builds and loads a library in a separate process. That
takes longer than a cached compile. Done here, every child inherits the answer.

If there may be a GPU, nothing is imported: the compiler would ask CUDA about it, and no child of a process that has
asked can use the device.
"""

from __future__ import annotations

import gc
import warnings
from contextlib import suppress
from importlib import import_module

from convbench.core import code
from convbench.measure.machine import nvml
from convbench.measure.machine.toolchain import missing_tool

ANY_COMPILE = ("torch.distributed.tensor.experimental._func_map", "sympy.physics.units", "sympy.tensor.tensor")
"""Modules that the compiler imports for any graph, which takes a fifth of a second."""

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # as in forkserver_imports
    if nvml.rules_out_a_gpu() and missing_tool() is None:  # what is missing is reported by each case
        import torch._inductor.codegen.cpp
        import torch._inductor.compile_fx  # noqa: F401
        from torch._inductor import cpu_vec_isa

        for name in ANY_COMPILE:
            with suppress(ImportError):  # not every version of torch has it
                import_module(name)
        with suppress(Exception):  # a compiler that does not work is reported by each case
            cpu_vec_isa.pick_vec_isa()

code.files()  # as in forkserver_imports
gc.collect()
gc.freeze()
