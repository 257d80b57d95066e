"""A module of the user's that fails while it is imported."""

raise ValueError("no weights here")
