"""Tasks, one per file: each is a function (clip shape, training, seed) -> labelled clips in three splits.

To add one, register a function that returns ``measure.quality.data.Splits``, always the same for the same seed. Clips
of your own need no plug-in: a suite names a function that yields (clip, label) as ``package.module:function``.
"""
