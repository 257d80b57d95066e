"""One offline HTML file: data first (``view``, ``payload``, the sections), then a thin template.

``page`` leads: it asks ``view`` for the values, every figure for its drawings (``svg`` inlines them), and renders a
template of ``templates/`` with the script and style of ``assets/``. ``compare`` and ``claims`` are pages of their own.
"""
