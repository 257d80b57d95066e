"""Runs on disk: written and read whole (``store``), merged, indexed, and shared with other machines (``exchange``)."""
