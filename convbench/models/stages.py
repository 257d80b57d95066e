"""Map the submodules, modules and parameters of a case's model to stages.

A stage is one or more submodules: any module, a container such as ModuleList, or the model itself (``""`` or ``.``).
The modules and parameters of a stage inside another stage belong to the inner one.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from operator import attrgetter
from types import FunctionType

import torch
from torch import nn

from convbench.core.errors import CaseFailed
from convbench.core.record import STAGES, Case, Parts
from convbench.core.registry import did_you_mean

Roots = Mapping[str, tuple[nn.Module, ...]]
WRAPPERS = ("_orig_mod", "module")
"""The attributes in which torch.compile and DataParallel keep the model that they wrap."""
ORIGINAL = "_torchdynamo_orig_callable"
"""The attribute in which a compiled function keeps the one that it was made of."""
CELLS = ("LSTM", "GRU", "RNN", "LSTMCell", "GRUCell", "RNNCell")


def stage_roots(case: Case, model: nn.Module) -> dict[str, tuple[nn.Module, ...]]:
    """Return the modules that make up each stage. Modules outside of all stages count as ``other``.

    If a user's model names no stages, its recurrent modules are the stage ``lstm``. Raises CaseFailed if the model has
    no submodule of a given name.
    """
    if isinstance(case.architecture, Parts):
        return {stage: (model.get_submodule(stage),) for stage in STAGES}
    if not case.architecture.stages:
        return {"lstm": tuple(_recurrent(model))}
    roots: dict[str, tuple[nn.Module, ...]] = {}
    for stage, name in case.architecture.stages:
        roots[stage] = (*roots.get(stage, ()), submodule(model, name))
    return roots


def submodule(model: nn.Module, name: str) -> nn.Module:
    """Return a submodule by its name, also from a model that torch.compile or DataParallel wraps.

    Raises CaseFailed if there is none.
    """
    if name in ("", "."):
        return model
    for prefix in ("", *(f"{wrapper}." for wrapper in WRAPPERS)):
        with suppress(AttributeError):
            part = attrgetter(prefix + name)(model)  # scripted modules refuse get_submodule
            if isinstance(part, nn.Module):
                return part
    names = [module_name for module_name, _ in model.named_modules(remove_duplicate=False) if module_name]
    raise CaseFailed("error", f"stages: the model has no submodule {name!r}{did_you_mean(name, names)}")


def stage_by_module(roots: Roots) -> dict[nn.Module, str]:
    """Return the innermost stage of every module that is in a stage."""
    stages: dict[nn.Module, str] = {}
    entries = [(sum(1 for _ in root.modules()), stage, root) for stage, modules in roots.items() for root in modules]
    for _, stage, root in sorted(entries, key=lambda item: -item[0]):
        stages |= dict.fromkeys(root.modules(), stage)
    return stages


def stage_by_parameter(roots: Roots) -> dict[torch.Tensor, str]:
    """Return the stage of every parameter and buffer that is in one. A tensor shared by stages belongs to the first."""
    stages: dict[torch.Tensor, str] = {}
    for module, stage in stage_by_module(roots).items():
        for tensor in (*module.parameters(recurse=False), *module.buffers(recurse=False)):
            stages.setdefault(tensor, stage)
    return stages


def is_compiled(module: nn.Module) -> bool:
    """Whether the user has compiled the module. Does not import the compiler."""
    return "torch._dynamo" in sys.modules and isinstance(module, torch._dynamo.OptimizedModule)


def compiles(model: nn.Module) -> bool:
    """Whether the user's code has compiled a part of the model: a module, a method or a function that it keeps."""
    return "torch._dynamo" in sys.modules and any(map(_compiles, model.modules()))


def _compiles(module: nn.Module) -> bool:
    kept_values = [*vars(module).values(), *(value for kind in type(module).__mro__ for value in vars(kind).values())]
    return any(isinstance(value, FunctionType) and ORIGINAL in vars(value) for value in kept_values)


def called_parts(modules: Iterable[nn.Module]) -> Iterator[nn.Module]:
    """Yield the modules, and in place of a ModuleList or ModuleDict, which is never called, its parts."""
    for module in modules:
        if isinstance(module, (nn.ModuleList, nn.ModuleDict)):
            yield from called_parts(module.children())
        else:
            yield module


def _recurrent(model: nn.Module) -> Iterator[nn.Module]:
    """Yield the recurrent modules of a model, each once.

    Scripted modules are not searched, because modules inside them are never called from Python.
    """
    visited_modules: set[nn.Module] = set()
    stack = [model]
    while stack:
        module = stack.pop()
        if module in visited_modules:
            continue
        visited_modules.add(module)
        if _is_recurrent(module):
            yield module
        elif not isinstance(module, torch.jit.ScriptModule):
            stack.extend(module.children())


def _is_recurrent(module: nn.Module) -> bool:
    """Whether a module is an LSTM, GRU, RNN or a cell of these: torch's own, quantised, scripted or a subclass."""
    if isinstance(module, (nn.RNNBase, nn.RNNCellBase)):
        return True
    if isinstance(module, torch.jit.ScriptModule):
        return getattr(module, "original_name", "") in CELLS
    kinds = type(module).__mro__
    return any(kind.__name__ in CELLS and kind.__module__.startswith("torch.ao.") for kind in kinds)
