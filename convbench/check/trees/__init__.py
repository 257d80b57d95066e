"""The code of both sides, ready to import: checked out, built or unpacked, and shown to be two different codes."""
