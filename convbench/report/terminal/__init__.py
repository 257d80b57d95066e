"""A run in a terminal: ``table`` prints the results, ``advice`` the recommendations, ``progress`` the measuring."""
