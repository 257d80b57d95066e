"""The latency gate: base and head measured side by side now, and one verdict for each case.

``sides`` makes the trees, ``link`` starts ``worker`` in each, ``pairs`` times them in alternation, ``decision`` judges
the pairs' log ratios by a ``rule``, ``gate`` leads through it and ``outcome`` holds what comes out. Nothing here
imports torch but the worker, which runs in processes of its own and imports the code of its side.
"""

import sys

from convbench.core.package import CallableRoom

sys.modules[__name__].__class__ = CallableRoom
