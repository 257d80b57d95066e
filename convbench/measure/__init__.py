"""Turn a subject into readings: everything that runs a model is here.

1. ``preflight`` builds every case on ``meta`` before anything is measured, and refuses impossible cases.
2. ``harness`` measures one case: ``comparison`` makes its first call and compares it with eager, and ``probing`` lets
   each probe (contract: ``probes``) read it at its moment.
3. Probes use the tools in ``timing``, ``counts``, ``memory``, ``stages``, ``traces`` and ``quality``; ``machine``
   describes the machine and the software that the numbers belong to.
"""

import sys

from convbench.core.package import CallableRoom

sys.modules[__name__].__class__ = CallableRoom
