"""The shelf of figures: (Results) -> Drawings. One file per figure.

To add one, register a function that yields ``report.drawing.Drawing``s, none where it has nothing to show: each is on
the page and stands alone as a file. Those that the page's template does not place follow in a section of their own.
"""
