"""The kit's proofs, so small that a CPU makes them in seconds on the simulated GPU beside this file.

``python small.py NAME --out DIR`` runs one proof, like ``proofs.py``. ``python small.py all DIR`` runs all in one
process, but for the gate, whose workers take minutes and find the simulated GPU only under ``rehearse.py``.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent.parent))

import proofs
import torch

from convbench.core.record import Clip, Protocol
from convbench.measure.machine import toolchain


class OneByOne(nullcontext[Any]):
    """A pool of one thread, this one: others do not believe that there is a GPU."""

    def __enter__(self) -> OneByOne:
        return self

    def map(self, work: Callable[[Any], Any], cases: Iterable[Any]) -> Iterator[Any]:
        return map(work, cases)


def main() -> None:
    proofs.ARTICLE = (("fc", 16),)
    proofs.Clip = lambda batch: Clip(min(batch, 2), 2, 3, 16, 16)
    proofs.TURNS, proofs.CALLS = 1, 6
    proofs.PROTOCOL = Protocol(max_warmup=0.01, max_time=0.02, min_samples=5)
    proofs.GRID = ((8,), (8,), (2,), (2,), (False, True))
    proofs.LAYERS = ({"cell": "GRU", "inputs": 8, "hidden": 8},)
    proofs.CONVOLUTIONS = ((3, 4, 3, 1, 8, 2),)
    proofs.WAYS = (proofs.WAYS[0], proofs.WAYS[3], *proofs.WAYS[-2:])
    proofs.MEASURING = ["true"]
    suite, _, only = proofs.GATED
    proofs.GATED = (suite, ("clip.batch=1", "clip.height=16", "clip.width=16"), only)
    proofs.SLOWDOWNS, proofs.LAST_PAIR = ((0.0, 20.0), (0.05, 20.0)), 60.0
    proofs.APART, proofs.LIMIT = 2, 240.0
    toolchain.SWITCHES = ()  # on paper nothing is compiled, and it goes on all the same
    torch.set_num_threads(1)
    if sys.argv[1] != "all":
        proofs.main()
        return
    proofs._apart, proofs.ThreadPoolExecutor = proofs.ANSWERS.__getitem__, OneByOne
    for name, proof in proofs.PROOFS.items():
        if name != "gate":
            proof("cuda", proofs.Findings(name, Path(sys.argv[2])))


if __name__ == "__main__":
    main()
    proofs.leave()
