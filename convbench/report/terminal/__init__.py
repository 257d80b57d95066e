"""A run in a terminal: ``table`` is the answer and the ranking, ``advice`` the recommendation."""
