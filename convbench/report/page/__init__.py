"""One offline HTML file: plain data (``view``, ``payload``, the sections), laid out by thin templates.

``run`` writes the report: it takes the values from ``view`` and a drawing from every figure (``svg`` inlines them), and
renders a template of ``templates/`` with the scripts and style of ``assets/``. ``compare``, ``history`` and ``claims``
are pages of their own.
"""
