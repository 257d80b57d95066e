"""Turn a case into a subject: a model, its inputs and the one call that is measured.

1. ``network`` builds the case's model: backbone, reducer, LSTM and head, or the user's own.
2. ``subject`` adds the inputs and applies the case's variants (contract: ``variants``).
3. The scenario (contract: ``plugins.scenarios``) makes the call. ``training_step`` is the call of a training.
"""
