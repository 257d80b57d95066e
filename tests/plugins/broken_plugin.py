"""A user's module that fails while it is imported."""

raise ValueError("no weights here")
