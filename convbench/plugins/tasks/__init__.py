"""The shelf of tasks: (clip shape, training, seed) -> labelled clips in three splits. One file per task.

To add one, register a function that returns ``measure.quality.data.Splits``, the same ones for a seed. Clips of your
own need no shelf: a suite names a function that yields (clip, label) as ``package.module:function``.
"""
