"""The latency gate: measure base and head side by side, and give a verdict for each case.

``trees`` prepares both sides, ``link`` starts a worker in each, ``pairs`` times them in alternation and ``decision``
judges the pairs' log ratios by the rule in ``settings``. ``gate`` runs these steps and ``outcome`` stores the results.
The worker is one of the ``programs``, which run in processes of their own and import the code of their side. Nothing
else here imports torch, except ``live``, which compares callables of this process. ``bisection`` and ``confirm`` ask
about commits by the same steps.
"""

import sys

from convbench.core.package import CallableRoom

sys.modules[__name__].__class__ = CallableRoom
