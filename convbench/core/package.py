"""What every room may know of the package: its version, and that some of its rooms can be called."""

from __future__ import annotations

import importlib
from types import ModuleType
from typing import Any

__version__ = "0.2.0.dev0"


class CallableRoom(ModuleType):
    """A package that is also the function of that name in ``convbench.api``: ``convbench.check(...)``."""

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return getattr(importlib.import_module("convbench.api"), self.__name__.rpartition(".")[2])(*args, **kwargs)
