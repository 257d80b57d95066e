"""Figures, one per file: each is a function (Results) -> Drawings.

To add one, register a function that yields ``report.drawing.Drawing``s, or none if it has nothing to show. Each drawing
is on the page and can be a file of its own. Drawings that the page's template does not place follow in their own
section.
"""
