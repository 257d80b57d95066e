"""Sentences: plain data in, plain English out; the only place where a finding or a verdict gets its words.

``answer``, ``advice``, ``quality``, ``claims`` and ``abstention`` say what was found, ``findings`` what to beware of,
``facts`` under what conditions; ``units``, ``numbers`` and ``names`` write the values.
"""
