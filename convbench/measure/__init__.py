"""Turn a subject into readings: everything that runs a model is here.

1. ``planning`` selects the cases of a suite. ``preflight`` builds each on ``meta`` before anything is measured, and
   refuses impossible ones.
2. ``harness`` measures one case: ``comparison`` makes its first call and compares it with eager, and ``probing`` lets
   each probe (contract: ``probes``) read it at its moment.
   ``attempts`` turns what is raised into a failed record; ``progress`` keeps what a stopped case has found.
3. Probes use the tools in ``counts``, ``memory``, ``stages``, ``traces`` and ``quality``. Time is taken by ``timing``,
   on the ``running_clock``; ``reference`` and ``waiting`` tell what disturbed it. ``machine`` describes the machine and
   the software that the numbers belong to.
4. Others measure by the same tools: ``side`` for the gate, ``live`` for a user's module in this process. ``handover``
   exports a measured model.
"""

import sys

from convbench.core.package import CallableRoom

sys.modules[__name__].__class__ = CallableRoom
