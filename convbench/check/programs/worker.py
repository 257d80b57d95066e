"""The measuring end of a check: a program that runs in one side's tree and answers commands, one JSON object per line.

It is started by its path: ``convbench`` and the user's modules are those of its side, found on CONVBENCH_PATH, behind
the standard library. Of that convbench it uses only ``convbench.measure.side``; of ``convbench.check`` it imports
nothing, and loads a few programs by their paths. An answer is an object, whose ``error`` says what went wrong. What the
models print goes to a log, not into the channel. ``convbench.check.live`` imports ``Server`` to time in one process.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import gc
import importlib
import importlib.util
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

Answer = dict[str, Any]
HERE = os.path.dirname(os.path.abspath(__file__))  # noqa: PTH100, PTH120
FLAT_SIDE = os.path.join(HERE, "flat_side.py")  # noqa: PTH118
SERVING = os.path.join(HERE, "serving.py")  # noqa: PTH118
INJECTION = os.path.join(HERE, "injection.py")  # noqa: PTH118
INSTRUCTIONS = os.path.join(HERE, "instructions.py")  # noqa: PTH118
PACKAGE = os.path.dirname(os.path.dirname(HERE))  # noqa: PTH120
CLOCK = os.path.join(PACKAGE, "measure", "running_clock.py")  # noqa: PTH118
"""The clock of ``convbench run``, by which both sides are timed."""
VALUES = os.path.join(PACKAGE, "models", "values.py")  # noqa: PTH118
"""The program that finds the numbers in an output of any kind, the same on both sides."""
PROGRAMS = (__file__, FLAT_SIDE, SERVING, INJECTION, INSTRUCTIONS, CLOCK, VALUES)
"""The programs of head that the workers of both sides run."""


class Server:
    """The commands of a worker, a method each. One case is prepared at a time."""

    def __init__(self) -> None:
        self.side: Any = None
        self.run: Callable[[], Any] = lambda: None
        self.device = "cpu"
        self.clock = _program("convbench_clock", CLOCK).RunningClock()

    def hello(self, threads: int, device: str = "cpu", case: Any = None) -> Answer:
        """Import what measuring and the case need, or what inspecting needs if there is no case; return the versions.

        ``protocol`` is 0 if this side's convbench has none. ``forks`` says whether copies of this process can inspect
        cases on the device: CUDA's state is not copied. All objects are frozen at the end, so that the garbage
        collections around each case need not walk them.
        """
        gc.disable()  # the collector would take a tenth of the import and find no garbage
        import torch

        self.side = _side()
        if self.side is None:
            return {"protocol": 0, "convbench": _version()}
        torch.set_num_threads(threads)
        if case is None:  # inspecting cases on meta imports it: here once, not in every copy
            import torch._dynamo
        else:
            with contextlib.suppress(Exception):
                self._subject(case, 0, None)
        gc.collect()
        gc.freeze()
        gc.enable()
        versions = {"python": sys.version.split()[0], "torch": torch.__version__, "convbench": self.side.VERSION}
        on_cpu = device == "cpu" or (device == "auto" and not torch.cuda.is_available())
        return {"protocol": self.side.PROTOCOL, "forks": on_cpu and _serving().can_fork(), **versions}

    def describe(self, device: str) -> Answer:
        return dict(self.side.describe(device))

    def plan(self, **words: Any) -> Answer:
        """Return the suite's cases on a device, resolved and without duplicates, and the protocol."""
        return dict(self.side.plan(**words))

    def resolve(self, case: Any, name: str) -> Answer:
        """Return the variables with which the case's process must be started. Raises if this side has no such case."""
        return {"variables": self.side.variables(self._case(case, name))}

    def inspect(self, case: Any, name: str, seed: int, outputs: str) -> Answer:
        """Return the exact facts of a case, such as counts and predicted memory, and write a call's output to a file.

        Raises CaseFailed if a variant's output differs from eager's.
        """
        side_case = self._case(case, name)
        counts = self.side.counts(side_case, seed)
        subject, tolerance = self.side.compared(side_case, seed)
        by_norm = _write_outputs(subject.run(), outputs)
        return {"facts": counts | {"dtype": str(subject.dtype)}, "tolerance": tolerance, "by_norm": by_norm}

    def weights(self, case: Any, name: str, seed: int) -> Answer:
        """Return as ``reason`` why no outputs can be compared if one seed gives different weights, else empty."""
        return {"reason": self.side.other_weights(self._case(case, name), seed)}

    def instructions(self, case: Any, seed: int, injected: tuple[int, int] | None = None) -> Answer:
        """Return the instructions of a call of the case as ``count``, and ``by``, what counted them."""
        run = self._subject(case, seed, injected).run
        answer: Answer = _program("convbench_instructions", INSTRUCTIONS).counted(run, __file__, case, seed, injected)
        return answer

    def modules(self) -> Answer:
        """Return the file of each imported module, without the programs that head lends to this side."""
        files = {}
        for name, module in list(sys.modules.items()):
            with contextlib.suppress(Exception):  # what stands in for a missing package may answer with anything
                if isinstance(file := module.__file__, str) and file not in PROGRAMS:
                    files[name] = file
        return {"files": files}

    def pin(self, cores: list[int]) -> Answer:
        os.sched_setaffinity(0, cores)
        return {}

    def prepare(self, case: Any, seed: int, injected: tuple[int, int] | None = None) -> Answer:
        """Build the case, with (count, size) of matmuls put into its forward pass if ``injected`` says so.

        Returns the device and the seconds of a call.
        """
        subject = self._subject(case, seed, injected)
        self.device, self.run = subject.device, subject.run
        gc.collect()
        gc.disable()
        _trim_heap()
        return {"device": self.device, "seconds": min(self.timed() for _ in range(3))}

    def calibrate(self, case: Any, seed: int, slowdown: float) -> Answer:
        """Return the count and size of matmuls that make a call slower by ``slowdown``, and what they achieve."""
        subject = self._subject(case, seed, None)
        self.device, self.run = subject.device, subject.run
        _trim_heap()
        return dict(_injection().calibrated(self, subject, slowdown))

    def warm(self, calls: int) -> Answer:
        for _ in range(calls):
            self.timed()
        return {}

    def slice(self, seconds: float, leading: bool) -> Answer:
        """Time calls for ``seconds`` and return the fastest on host and device.

        ``leading`` puts a call that is not recorded before them.
        """
        if leading:
            self.timed()
        best, device, total = float("inf"), float("inf"), 0.0
        while total < seconds:
            host, on_device = self._time_both()
            best, device, total = min(best, host), min(device, on_device), total + host
        return {"best": best, "device": device if device < best * 1e6 else None, "state": self._throttling()}

    def release(self) -> Answer:
        self.run = lambda: None
        gc.enable()
        gc.collect()
        return {}

    def _case(self, description: Any, name: str) -> Any:
        """Return the case as this side's convbench reads it. Raises RuntimeError if its id is not ``name``."""
        case = self.side.resolved(description)
        if case.id != name:
            message = f"this side's convbench reads the case as {case.id}: it is older than the suite's format"
            raise RuntimeError(message)
        return case

    def _subject(self, description: Any, seed: int, injected: tuple[int, int] | None) -> Any:
        subject = self.side.subject(self.side.read(description), seed)
        return _injection().inject(subject, injected) if injected else subject

    def _throttling(self) -> str | None:
        """Return why the GPU's clocks are throttled at this moment; None on a CPU."""
        return None if self.device == "cpu" else str(self.side.throttling(self.device))

    def explain(self, error: BaseException) -> Answer:
        """Return the kind and the message of an error, in the side's own words if the side has been imported."""
        try:
            kind, message = self.side.explain(error)
        except Exception:
            kind, message = "error", f"{type(error).__name__}: {error}".removesuffix(": ")  # a MemoryError has no words
        return {"kind": kind, "message": message}

    def timed(self) -> float:
        """Call the prepared case once and return the seconds on the host."""
        return self._time_both()[0]

    def _time_both(self) -> tuple[float, float]:
        if self.device == "cpu":
            return self.clock.timed(self.run), float("inf")
        return _time_on_gpu(self.run, self.device)


def _trim_heap() -> None:
    """Give the free end of the heap back to the system, if the C library can.

    Memory that fits into what earlier cases left there is taken from it; anything larger is mapped anew in every call,
    which takes up to five times as long. Without this, the order of the cases decided which of the two happened.
    """
    with contextlib.suppress(AttributeError):
        ctypes.CDLL(None).malloc_trim(0)


def _side() -> Any:
    """Return the facade of this side's convbench, or the one for the flat layout; None if it has neither layout."""
    if _has("convbench.measure.side"):
        return importlib.import_module("convbench.measure.side")
    if not (_has("convbench.opening") and _has("convbench.preflight")):
        return None
    return _program("convbench_flat_side", FLAT_SIDE)


@functools.cache
def _serving() -> Any:
    return _program("convbench_serving", SERVING)


@functools.cache
def _injection() -> Any:
    return _program("convbench_injection", INJECTION)


def _program(name: str, path: str) -> Any:
    """Load a program of head by its path, on whichever side this is."""
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _has(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:
        return False


def _version() -> str:
    return str(getattr(importlib.import_module("convbench"), "__version__", "unknown"))


def _write_outputs(output: Any, path: str) -> bool:
    """Write all numbers of an output, by place and name. Returns whether they are gradients, compared by norm."""
    import numpy as np
    import torch

    kinds = (torch.Tensor, np.ndarray, np.generic, int, float, complex)
    values = _program("convbench_values", VALUES)
    parts = [(name, _array(values.densify(leaf))) for name, leaf in values.leaves(output) if isinstance(leaf, kinds)]
    numbers = [(name, array) for name, array in parts if array is not None]
    np.savez(path, **{f"{place} {name}": array for place, (name, array) in enumerate(numbers)})
    return hasattr(output, "gradients")


def _array(number: Any) -> Any:
    """Convert a tensor, array or number to an array: whole numbers keep their type, others get double precision.

    Returns None for an array of anything else, such as texts.
    """
    import numpy as np
    import torch

    if isinstance(number, torch.Tensor):
        tensor = number.detach().cpu()
        if tensor.is_complex():
            return tensor.to(torch.complex128).resolve_conj().resolve_neg().numpy()
        return (tensor.to(torch.float64).resolve_neg() if tensor.is_floating_point() else tensor).numpy()
    array = np.asarray(number)
    if array.dtype == object and isinstance(number, int):  # more than 64 bits: its digits are compared
        return np.frombuffer(hex(number).encode(), np.uint8)
    double = {"f": np.float64, "c": np.complex128}
    return array.astype(double.get(array.dtype.kind, array.dtype)) if array.dtype.kind in "biufc" else None


def _time_on_gpu(run: Callable[[], Any], device: str) -> tuple[float, float]:
    import torch

    begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))  # type: ignore[no-untyped-call]
    torch.cuda.synchronize(device)
    start = time.perf_counter_ns()
    begin.record()
    run()
    end.record()
    torch.cuda.synchronize(device)
    return (time.perf_counter_ns() - start) * 1e-9, begin.elapsed_time(end) * 1e-3


def find_side() -> None:
    """Put the folders of the variable CONVBENCH_PATH behind the standard library and before installed packages.

    A user's file that is named like a module of the standard library must not replace that module. If the variable
    CONVBENCH_PATH_FIRST is set, these folders come before the finders of editable installs, too. The folders of the
    variable CONVBENCH_PATH_NOT, where such installs find head's code, are left out: base may lack a module of head.
    """
    folders, others = (
        [entry for entry in os.environ.get(variable, "").split(os.pathsep) if entry]
        for variable in ("CONVBENCH_PATH", "CONVBENCH_PATH_NOT")
    )
    sys.path[:] = [entry for entry in sys.path if entry not in others]
    for finder in sys.meta_path:
        mapping: Any = getattr(sys.modules.get(getattr(finder, "__module__", "")), "MAPPING", None)
        for name in list(mapping) if isinstance(mapping, dict) else ():
            if any(Path(mapping[name]).is_relative_to(folder) for folder in others):
                del mapping[name]
    places = [index for index, entry in enumerate(sys.path) if entry.rstrip(os.sep).endswith("-packages")]
    start = min(places, default=len(sys.path))
    sys.path[start:start] = folders
    if os.environ.get("CONVBENCH_PATH_FIRST"):  # else the finders of meson-python and scikit-build find head's code
        sys.meta_path.sort(key=lambda finder: "editable" in getattr(finder, "__module__", ""))


if __name__ == "__main__":
    find_side()
    _serving().main(Server)
