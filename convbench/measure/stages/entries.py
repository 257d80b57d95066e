"""Watch where a model's stages are entered: by calls of their modules, and of other methods that use them.

A stage may be used by a method of its own (``core.observe(x)``), by its parts (a ModuleList, or ``encoder.layers[0]``),
or under several names. So over a first call all its modules and their own methods are watched. Later, when the same
call is timed, only those are watched that were entered from outside of the stage.
"""

from __future__ import annotations

import copy
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from functools import partial, update_wrapper
from types import FunctionType
from typing import Any

import torch
from torch import nn
from torch.jit._script import RecursiveScriptModule
from torch.nn.modules.module import register_module_forward_hook, register_module_forward_pre_hook

from convbench.models.stages import Roots, is_compiled, stage_by_module

StageEntry = tuple[int, str]
"""The id of a module, and the method by which it is entered."""
CALL = "__call__"
Enter = Callable[[str, Any], None]
Leave = Callable[[str, Any], None]


@contextmanager
def observe(roots: Roots, enter: Enter, leave: Leave, entries: set[StageEntry] | None = None) -> Iterator[set[str]]:
    """While entered, every entry of a stage calls ``enter(stage, inputs)`` and ``leave(stage, output)``.

    Yields the set of stages that were entered so far. ``entries`` are those of an earlier call: only they are watched.
    An empty set is filled with the entries of this call.
    """
    watch = _Watch(enter, leave, set(), set())
    with ExitStack() as hooks:
        stages = stage_by_module(roots)
        hooks.enter_context(_scripts(watch, stages))
        for module, stage in stages.items():
            for method in _methods(module):
                if not entries or (id(module), method) in entries:
                    _hang(hooks, watch, stage, module, method)
        yield watch.stages
    if entries is not None and not entries:
        entries.update(watch.entries)


@contextmanager
def in_threads(make_context: Callable[[], AbstractContextManager[Any]]) -> Iterator[None]:
    """While entered, modules in threads that the model has started run inside of ``make_context()``.

    torch's modes belong to one thread each: they do not see what another computes.
    """
    own_thread, threads = threading.get_ident(), threading.local()

    def enter(*_: Any) -> None:
        if threading.get_ident() != own_thread:
            stack = vars(threads).setdefault("stack", [])
            stack.append(nullcontext() if stack else make_context())
            stack[-1].__enter__()

    def leave(*_: Any) -> None:
        if stack := vars(threads).get("stack"):
            stack.pop().__exit__(None, None, None)

    hooks = [register_module_forward_pre_hook(enter), register_module_forward_hook(leave, always_call=True)]
    try:
        with _without_warning() if "torch._dynamo" in sys.modules else nullcontext():
            yield
    finally:
        for hook in hooks:
            hook.remove()


@contextmanager
def _without_warning() -> Iterator[None]:
    """Ignore torch's warning that a compiled module meets hooks on all modules: they are ours, and do no harm."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", r"Using `torch\.compile\(module\)` when there are global hooks")
        yield


class _Watch(threading.local):
    """The stages that the call is in, thread by thread; an entry inside its own stage does not count."""

    def __init__(self, enter: Enter, leave: Leave, entries: set[StageEntry], stages: set[str]) -> None:
        self.enter, self.leave = enter, leave
        self.stack: list[tuple[str, bool]] = []
        self.entries, self.stages = entries, stages

    def __deepcopy__(self, _memo: dict[int, Any]) -> _Watch:
        return self  # a module that copies a part of itself in forward: the copy belongs to the part's stage

    def goes_in(self, stage: str, entry: StageEntry, inputs: Any) -> None:
        is_outer = not self.stack or self.stack[-1][0] != stage
        self.stack.append((stage, is_outer))
        if is_outer:
            self.entries.add(entry)
            self.stages.add(stage)
            self.enter(stage, inputs)

    def comes_out(self, output: Any) -> None:
        stage, is_outer = self.stack.pop()
        if is_outer:
            self.leave(stage, output)

    def call(self, stage: str, entry: StageEntry, method: Callable[..., Any], args: Any, kwargs: Any) -> Any:
        self.goes_in(stage, entry, (args, kwargs))
        result = None
        try:
            result = method(*args, **kwargs)
        finally:
            self.comes_out(result)
        return result


class _Watched:
    """A method of a module that tells ``watch`` of its calls. A deep copy of the module has the method as it was."""

    def __init__(self, watch: _Watch, stage: str, entry: StageEntry, method: Callable[..., Any]) -> None:
        update_wrapper(self, method)
        self.watch, self.stage, self.entry, self.method = watch, stage, entry, method

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.watch.call(self.stage, self.entry, self.method, args, kwargs)

    def __deepcopy__(self, memo: dict[int, Any]) -> Any:
        return copy.deepcopy(self.method, memo)  # a bound method becomes that of the copy


@contextmanager
def _scripts(watch: _Watch, stages: dict[nn.Module, str]) -> Iterator[None]:
    """Replace the call of scripted modules while entered, if a stage has one: they take no hooks."""
    if not any(isinstance(module, RecursiveScriptModule) for module in stages):
        yield
        return
    original = nn.Module.__call__

    def call(module: nn.Module, *args: Any, **kwargs: Any) -> Any:
        stage = stages.get(module)
        if stage is None:
            return original(module, *args, **kwargs)
        return watch.call(stage, (id(module), CALL), partial(original, module), args, kwargs)

    RecursiveScriptModule.__call__ = call  # type: ignore[method-assign]
    try:
        yield
    finally:
        del RecursiveScriptModule.__call__


def _methods(module: nn.Module) -> list[str]:
    """The call, ``forward`` called directly, and the methods that the user's own classes give a module."""
    if isinstance(module, RecursiveScriptModule):
        return []
    if isinstance(module, torch.jit.ScriptModule):  # a class of the user's with scripted methods does take hooks
        return [CALL, *type(module)._methods]  # type: ignore[attr-defined]
    if is_compiled(module):
        return [CALL]
    classes = [kind for kind in type(module).__mro__ if kind is not object and not kind.__module__.startswith("torch.")]
    names = (name for kind in classes for name, value in vars(kind).items() if isinstance(value, FunctionType))
    return list(dict.fromkeys([CALL, "forward", *(name for name in names if not name.startswith("__"))]))


def _hang(hooks: ExitStack, watch: _Watch, stage: str, module: nn.Module, method: str) -> None:
    if method != CALL:
        _wrap(hooks, watch, stage, module, method)
        return
    hook = partial(_enter, watch, stage, (id(module), method))
    hooks.callback(module.register_forward_pre_hook(hook, prepend=True, with_kwargs=True).remove)
    hooks.callback(module.register_forward_hook(partial(_leave, watch), always_call=True).remove)


def _enter(watch: _Watch, stage: str, entry: StageEntry, _module: nn.Module, args: Any, kwargs: Any) -> None:
    watch.goes_in(stage, entry, (args, kwargs))


def _leave(watch: _Watch, _module: nn.Module, _args: Any, output: Any) -> None:
    watch.comes_out(output)


def _wrap(hooks: ExitStack, watch: _Watch, stage: str, module: nn.Module, method: str) -> None:
    """Replace a module's method by one that tells ``watch``, past ``__setattr__``, until ``hooks`` end."""
    original, attributes = getattr(module, method, None), vars(module)
    if original is None:
        return
    backup = {method: attributes[method]} if method in attributes else {}

    def restore() -> None:
        attributes.pop(method, None)
        attributes.update(backup)

    attributes[method] = _Watched(watch, stage, (id(module), method), original)
    hooks.callback(restore)
