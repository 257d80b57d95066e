"""Which submodules are which stage of a case's model, and so which stage a module or a parameter belongs to.

A stage is one or more submodules: any module, a container such as ModuleList, or the model itself (``""`` or ``.``).
Where a stage lies inside another one, its modules and parameters are its own.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Mapping

import torch
from torch import nn

from convbench.core.errors import CaseFailed
from convbench.core.record import STAGES, Case, Parts
from convbench.core.registry import did_you_mean

Roots = Mapping[str, tuple[nn.Module, ...]]
WRAPPERS = ("_orig_mod", "module")
"""Under these names torch.compile and DataParallel keep the model that they wrap."""
CELLS = ("LSTM", "GRU", "RNN", "LSTMCell", "GRUCell", "RNNCell")


def stage_roots(case: Case, model: nn.Module) -> dict[str, tuple[nn.Module, ...]]:
    """The modules that make up each stage; what is in none counts as ``other``.

    A user's model that names no stages has its recurrent modules recognised. Raises CaseFailed for a name that the
    model does not have.
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
    """A submodule by its name, also inside what torch.compile or DataParallel wraps. Raises CaseFailed."""
    if name in ("", "."):
        return model
    for prefix in ("", *(f"{wrapper}." for wrapper in WRAPPERS)):
        try:
            return model.get_submodule(prefix + name)
        except AttributeError:
            continue
    names = [module_name for module_name, _ in model.named_modules(remove_duplicate=False) if module_name]
    raise CaseFailed("error", f"stages: the model has no submodule {name!r}{did_you_mean(name, names)}")


def stage_by_module(roots: Roots) -> dict[nn.Module, str]:
    """Every module in a stage with the innermost stage that it is in."""
    stages: dict[nn.Module, str] = {}
    entries = [(sum(1 for _ in root.modules()), stage, root) for stage, modules in roots.items() for root in modules]
    for _, stage, root in sorted(entries, key=lambda item: -item[0]):
        stages |= dict.fromkeys(root.modules(), stage)
    return stages


def stage_by_parameter(roots: Roots) -> dict[torch.Tensor, str]:
    """Every parameter and buffer in a stage with that stage; one that several stages share is the first one's."""
    stages: dict[torch.Tensor, str] = {}
    for module, stage in stage_by_module(roots).items():
        for tensor in (*module.parameters(recurse=False), *module.buffers(recurse=False)):
            stages.setdefault(tensor, stage)
    return stages


def is_compiled(module: nn.Module) -> bool:
    """Whether the user has compiled the module; asked without importing the compiler."""
    return "torch._dynamo" in sys.modules and isinstance(module, torch._dynamo.OptimizedModule)


def called_parts(modules: Iterable[nn.Module]) -> Iterator[nn.Module]:
    """The modules, with the parts of a list or dictionary of modules, which is never called, in its place."""
    for module in modules:
        if isinstance(module, (nn.ModuleList, nn.ModuleDict)):
            yield from called_parts(module.children())
        else:
            yield module


def _recurrent(model: nn.Module) -> Iterator[nn.Module]:
    """The recurrent modules of a model, each once; what is inside of a scripted module is never called from Python."""
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
    """LSTM, GRU, RNN and their cells: torch's own, quantised or scripted ones, and what is derived from them."""
    if isinstance(module, (nn.RNNBase, nn.RNNCellBase)):
        return True
    if isinstance(module, torch.jit.ScriptModule):
        return getattr(module, "original_name", "") in CELLS
    kinds = type(module).__mro__
    return any(kind.__name__ in CELLS and kind.__module__.startswith("torch.ao.") for kind in kinds)
