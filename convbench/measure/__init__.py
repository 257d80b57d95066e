"""A subject becomes readings: everything that runs a model lives here.

1. ``preflight`` builds every case on ``meta`` before anything is measured and refuses what cannot be.
2. ``harness`` measures one case: ``first_call`` compares it with eager, then each probe (contract: ``probes``) reads
   it.
3. Probes find their tools in ``timing``, ``counts``, ``memory``, ``stages``, ``traces`` and ``quality``; what the
   numbers belong to is described by ``machine``.
"""

import sys

from convbench.core.package import Callable

sys.modules[__name__].__class__ = Callable
