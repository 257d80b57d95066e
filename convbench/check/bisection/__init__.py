"""Find the place of a history at which it became slower: the places, the search among them, and its answer."""
