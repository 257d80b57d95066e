"""The one place where an exception becomes a failed Record, so that a sweep goes on. Imports no torch.

It also explains why a process died without sending a result.
"""

from __future__ import annotations

import re
import signal
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Literal

from convbench.core import git
from convbench.core.code import located
from convbench.core.errors import (
    CaseFailed,
    ConvbenchError,
    Impossible,
    StoreError,
    Unavailable,
    is_out_of_memory,
    line_of,
)
from convbench.core.record import Case, Failure, Finding, Reading, Record, timestamp

Measure = Callable[[Case], Record]
SKIPPED = ("unavailable", "impossible")
"""Kinds of failures that are no fault: of the machine, which lacks something, or of the combination."""
KEPT_TENSOR = (
    "its code keeps a tensor of torch's meta device, on which shapes are found first: a function that keeps tensors "
    "between calls, for instance by functools.lru_cache, must take the device as an argument, too, and weights "
    "that it makes on meta itself need values, as from load_state_dict(..., assign=True)"
)
TWO_TYPES = (
    "two number types meet: give the inputs, and tensors that the code makes itself, such as a first state, the type "
    "of the weights, as in torch.zeros(..., dtype=frame.dtype), and replace .float() by .to(weight.dtype)"
)
NEEDS_CUDA = (
    "the model's code asks for CUDA: replace .cuda() by .to(frame.device), and make tensors with device=frame.device"
)
_LACKS_CUDA = ("Torch not compiled with CUDA enabled", "Found no NVIDIA driver", "No CUDA GPUs are available")
"""Parts of torch's messages if code asks for a GPU where there is none."""
UNBATCHED = (
    "torch's quantised LSTM and GRU need a batch axis: call the layer with a batch of one, as in "
    "lstm(frames.unsqueeze(1)), or use int8+onnxruntime"
)
SYMBOLIC = (
    "this is a fault of torch's compiler with sizes that stay symbolic: compile without dynamic=True, or mark the axis "
    "that varies with torch._dynamo.mark_dynamic"
)
_METS_SYMBOL = re.compile(r"\bs\d+\b")
"""A size that torch's compiler keeps symbolic, in its messages."""
STREAMED = (
    "streaming calls the model with a frame (B, 1, C, H, W) and the state that it returned, at first None; if it takes "
    "others, name a function that calls it under step: package.module:function"
)
"""The note that the scenario gives to an error of a user's model without a step."""
OTHER_SIZES = "the model was exported for other sizes: name a clip of these sizes, or export it with dynamic_shapes"
_LACKS_BATCH = "input must have 3 dimensions, got 2"
"""Part of torch's message if a quantised layer gets a sequence without a batch; its other layers take one."""
_METS_TYPE = re.compile(
    r"mixed dtype|input dtype .* does not match weight dtype|primitive descriptor for the LSTM"
    r"|(?=.*\b[Ff]loat\b)(?=.*\b(Half|BFloat16|[Dd]ouble|Byte|unsigned char|long int)\b)"
    r"|\b(Half|BFloat16|[Dd]ouble)\b.*\b(?!\2)(Half|BFloat16|[Dd]ouble)\b"
)
"""torch's error messages if tensors of two number types meet; the one about an LSTM means its state."""
LOST = "an earlier operator may have caused it: set CUDA_LAUNCH_BLOCKING=1; its process cannot use the GPU any more"
DAMAGED = "this is a fault of the GPU: nvidia-smi --query --display=ECC shows it; reset the GPU, or use another one"
LACKS_KERNELS = "it is built for other GPUs: torch.cuda.get_arch_list() says for which; install a build for this one"
ADMITTED = "end the process that has the GPU to itself, or let it admit several: nvidia-smi --compute-mode=DEFAULT"
BUSY = "busy or unavailable"
"""Part of CUDA's error message if the GPU admits a single process, which is another one."""
_OF_CUDA = {
    "illegal|misaligned|assert|launch failure|launch timed out|hardware stack|program counter|address space|unknown":
        LOST,
    "uncorrectable|hardware error": DAMAGED,
    "no kernel image": LACKS_KERNELS,
    BUSY: ADMITTED,
}  # fmt: skip
"""What to do about errors of CUDA, by words of its messages. After the first ones CUDA fails for the whole process."""
_CUDAS = r"(CUDA error|CUDA driver error|Triton Error \[CUDA\])"
"""How its messages begin: of torch, about calls of the runtime and of the driver, and of triton, about launches."""
_LACKS_HANDLE = re.compile(r"CU(BLAS|DNN)_STATUS_NOT_INITIALIZED")
LACKS_HANDLE = "the library could not start, as a rule for lack of memory on the GPU: nvidia-smi says who uses it"
GONE: Literal["no GPU"] = "no GPU"
"""Kind of a failure after which no case on this device can be measured."""
_LACKS_GPU = re.compile(
    "No CUDA GPUs are available|Found no NVIDIA driver|no CUDA-capable device|CUDA unknown error|cudaGetDeviceCount"
    "|driver initialization failed|driver on your system is too old"
)
"""torch's error messages if CUDA does not start."""
MOST_OUTPUT = 2**16
"""Bytes at the end of what a process printed in which its last line is looked for."""
_METS_META = re.compile(r"\bmeta tensor\b|device.*\bmeta\b")
"""torch's error messages if a tensor without values meets one with values."""


def attempt(case: Case, measure: Measure) -> Record:
    """Return ``measure(case)``, or the record of why the case has no result: a sweep goes on after any exception.

    Raises StoreError if nothing can be written, and ConvbenchError if the GPU has gone: these are faults of this
    machine and not of the case.
    """
    start, date = time.perf_counter(), timestamp()
    try:
        return measure(case)
    except StoreError:
        raise
    except Exception as error:
        if isinstance(error, CaseFailed) and error.kind == GONE:
            raise ConvbenchError(str(error)) from error
        return replace(failed_record(case, error), started=date, seconds=time.perf_counter() - start)


def failed_record(case: Case, error: Exception) -> Record:
    """Return the record of why a case has no result, with the results known before."""
    failure = explain(error)
    status: Literal["failed", "skipped"] = "skipped" if failure.kind in SKIPPED else "failed"
    results = error.results if isinstance(error, CaseFailed) else ()
    readings = tuple(result for result in results if isinstance(result, Reading))
    findings = tuple(result for result in results if isinstance(result, Finding))
    return Record(case, status, readings, findings, failure, started=timestamp())


def without_gpu(device: str, error: BaseException) -> CaseFailed | None:
    """Return the failure of all cases on a GPU with which CUDA does not start any more; None for any other error."""
    if not _LACKS_GPU.search(str(error)):
        return None
    words = f"CUDA does not start on {device} any more ({line_of(error)})"
    return CaseFailed(
        GONE, f"{words}: `nvidia-smi -L` shows whether the driver has the GPU; --resume continues the run"
    )


def may_succeed_alone(failure: Failure | None) -> bool:
    """Whether a case that failed beside others may have a result if nothing else uses the device."""
    return failure is not None and (failure.kind == "out of memory" or BUSY in failure.message)


def explain(error: BaseException) -> Failure:
    """Explain what went wrong with a case, in a word and a sentence, with the user's line that led to it."""
    match error:
        case CaseFailed(kind=kind):
            return Failure(kind, str(error))
        case Impossible():
            return Failure("impossible", str(error))
        case Unavailable():
            return Failure("unavailable", str(error))
        case ConvbenchError():
            return Failure("error", str(error))
        case _ if is_out_of_memory(error):
            return Failure("out of memory", located(error))
        case RuntimeError() if _LACKS_HANDLE.search(str(error)):
            return Failure("out of memory", f"{located(error)}; {LACKS_HANDLE}")
    hint = _hint(error)
    return Failure("error", f"{located(error)}; {hint}" if hint else f"{located(error)}{git.lfs_hint(error)}")


def _hint(error: BaseException) -> str:
    """Return what an error of torch means and what to do about it; empty if unknown."""
    match error:
        case RuntimeError() if hint := _cuda_hint(str(error)):
            return hint
        case AssertionError() | RuntimeError() if any(part in str(error) for part in _LACKS_CUDA):
            return NEEDS_CUDA
        case RuntimeError() if _METS_META.search(str(error)):
            return KEPT_TENSOR
        case _ if type(error).__name__ == "InductorError" and _METS_SYMBOL.search(line_of(error)):
            return SYMBOLIC
        case AssertionError() if str(error).startswith("Guard failed: "):
            return OTHER_SIZES
        case RuntimeError() if _LACKS_BATCH in str(error):
            return UNBATCHED
        case RuntimeError() | ValueError() if _METS_TYPE.search(line_of(error)):
            return TWO_TYPES
        case _ if STREAMED in getattr(error, "__notes__", ()):
            return STREAMED
    return ""


def _cuda_hint(message: str) -> str:
    return next((hint for words, hint in _OF_CUDA.items() if re.search(f"{_CUDAS}: .*({words})", message)), "")


def explain_death(exitcode: int | None, output: Path) -> CaseFailed:
    """Name the signal or exit code that ended the process, and the last line that it printed to ``output``.

    A process that closed its channel but keeps running has no exit code.
    """
    lines = _end_of(output).strip().splitlines()
    last_output = f"; last output: {lines[-1][:300]}" if lines else ""
    if exitcode is None:
        return CaseFailed("crash", f"the process closed its channel but kept running{last_output}")
    if exitcode >= 0:
        return CaseFailed("crash", f"the process ended with exit code {exitcode} and no result{last_output}")
    signal_names = {number.value: number.name for number in signal.Signals}
    name = signal_names.get(-exitcode, f"signal {-exitcode}")  # real-time signals have no names of their own
    if -exitcode == signal.SIGKILL:
        return CaseFailed("out of memory", f"killed by {name}, as the system's out-of-memory killer does{last_output}")
    return CaseFailed("crash", f"killed by {name}{last_output}")


def _end_of(output: Path) -> str:
    """Return the last characters of a file, which may hold gigabytes; empty if it cannot be read."""
    try:
        with output.open("rb") as file:
            file.seek(max(0, output.stat().st_size - MOST_OUTPUT))
            return file.read(MOST_OUTPUT).decode(errors="replace")
    except OSError:
        return ""
