"""Plain English for plain data: the only place where findings and verdicts get their words.

``answer``, ``advice``, ``quality``, ``claims`` and ``abstention`` state the results, ``findings`` the warnings,
``facts`` the conditions; ``units``, ``numbers`` and ``names`` write the values.
"""
