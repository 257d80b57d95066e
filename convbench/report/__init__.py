"""Turn answers into what people read: the only place for human units and words. Imports no torch.

``words`` writes sentences, ``drawing`` draws figures, ``page`` puts both into one offline HTML file, ``terminal``
prints tables, ``export`` writes other tools' formats, ``viewers`` serves traces on loopback.
"""

import sys

from convbench.core.package import CallableRoom

sys.modules[__name__].__class__ = CallableRoom
