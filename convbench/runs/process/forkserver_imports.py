"""What the forkserver imports once, so that no case has to: torch, the shelves and what a first count on meta loads.

Importing this module does it. It touches no device and starts no thread, so that forking afterwards is safe.
"""

from __future__ import annotations

import gc
import os
import warnings

from convbench.core.system import scratch


def _import() -> None:
    import torch._dynamo  # noqa: F401

    from convbench.core import code
    from convbench.core.record import Case, Choice, Clip, Parts
    from convbench.core.registry import SHELVES, executors
    from convbench.measure import harness  # noqa: F401
    from convbench.measure.counts import traced  # noqa: F401
    from convbench.measure.counts.counted import macs_by_stage

    for shelf in SHELVES:
        if shelf.kind not in ("figure", "claim", "executor", "export"):
            list(shelf)
    executors.get("isolated")  # its module is the first that a case's process needs
    macs_by_stage(Case(Parts(Choice("conv"), Choice("gap")), clip=Clip(1, 1, 1, 8, 8)))
    code.files()  # remembers which modules are the user's, or every case would find that out for all of them


os.environ.pop("TORCHINDUCTOR_CACHE_DIR", None)  # torch sets it when imported; each case gets one of its own
gc.disable()  # a tenth of the import time would go to collections that find no garbage
with warnings.catch_warnings():  # torch's warnings about itself would end the server under ``-W error``
    warnings.simplefilter("ignore")
    _import()
scratch.adopt()
gc.collect()
gc.freeze()  # else each collection around a case would walk all imported objects, for a quarter of a second
gc.enable()
