"""Facts of the package that every sub-package may use: its version, and that some sub-packages can be called."""

from __future__ import annotations

import hashlib
import importlib
import inspect
from collections.abc import Callable
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

__version__ = "0.2.0.dev0"


@cache
def build() -> str:
    """Return the version and a digest of the installed code: before a release, many commits have the same version."""
    package = Path(__file__).parents[1]
    digest = hashlib.sha256()
    for file in sorted(package.rglob("*.py")):
        digest.update(f"{file.relative_to(package)}\0".encode() + file.read_bytes())
    return f"{__version__} (code {digest.hexdigest()[:8]})"


class CallableRoom(ModuleType):
    """A sub-package that is also the function of the same name in ``convbench.api``: ``convbench.check(...)``.

    In a notebook, ``convbench.check?`` shows the function's signature and docstring.
    """

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self._function(*args, **kwargs)

    @property
    def __signature__(self) -> inspect.Signature:
        return inspect.signature(self._function)

    @property
    def __doc__(self) -> str | None:  # type: ignore[override]
        return self._function.__doc__

    @property
    def _function(self) -> Callable[..., Any]:
        api = importlib.import_module("convbench.api")
        function: Callable[..., Any] = getattr(api, self.__name__.rpartition(".")[2])
        return function
