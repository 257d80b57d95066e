"""What the forkserver imports once, so that no case has to: torch, the shelves and what a first count on meta loads.

Importing this module is its effect. It touches no device and starts no thread, so that forking afterwards is safe.
"""

from __future__ import annotations

import torch._dynamo  # noqa: F401

from convbench import count_traced, harness  # noqa: F401
from convbench.count_meta import macs_by_stage
from convbench.record import Case, Choice, Clip, Parts
from convbench.registry import SHELVES

for shelf in SHELVES:
    if shelf.kind != "figure":
        list(shelf)

macs_by_stage(Case(Parts(Choice("conv"), Choice("gap")), clip=Clip(1, 1, 1, 8, 8)))
