"""Answers become what people read. Human units and words live only here; never torch.

``words`` says it in sentences, ``drawing`` draws it, ``page`` puts both into one offline HTML file, ``terminal`` into
tables, ``export`` into other tools' formats, ``viewers`` serves traces on loopback.
"""

import sys

from convbench.core.package import Callable

sys.modules[__name__].__class__ = Callable
