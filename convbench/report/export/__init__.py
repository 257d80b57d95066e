"""Answers as files: JSON for ``--json`` and ``claims.json``, figures for a paper, and summaries in Markdown.

The formats of other tools are plug-ins (``plugins/exports``).
"""
