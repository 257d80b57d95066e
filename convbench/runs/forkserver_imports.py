"""What the forkserver imports once, so that no case has to: torch, the shelves and what a first count on meta loads.

Importing this module is its effect. It touches no device and starts no thread, so that forking afterwards is safe.
"""

from __future__ import annotations

import gc
import os
import warnings

from convbench.core import scratch


def _import() -> None:
    import torch._dynamo  # noqa: F401

    from convbench.core import code
    from convbench.core.record import Case, Choice, Clip, Parts
    from convbench.core.registry import SHELVES, executors
    from convbench.measure import harness  # noqa: F401
    from convbench.measure.counts import traced  # noqa: F401
    from convbench.measure.counts.counted import macs_by_stage

    for shelf in SHELVES:
        if shelf.kind not in ("figure", "claim", "executor"):
            list(shelf)
    executors.get("isolated")  # whose module is the first that a case's process asks for
    macs_by_stage(Case(Parts(Choice("conv"), Choice("gap")), clip=Clip(1, 1, 1, 8, 8)))
    code.files()  # asks of each module whose it is, which every case would


os.environ.pop("TORCHINDUCTOR_CACHE_DIR", None)  # torch makes it as it is imported; each case gets one of its own
gc.disable()  # a tenth of the imports would be looking for garbage that there is none of
with warnings.catch_warnings():  # of torch about itself, which would end the server under ``-W error``
    warnings.simplefilter("ignore")
    _import()
scratch.adopt()
gc.collect()
gc.freeze()  # else each collection around a case would walk all that was imported: a quarter of a second
gc.enable()
