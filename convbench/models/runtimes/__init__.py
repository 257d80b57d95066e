"""Run models in another runtime: PyTorch writes the model to disk, and the runtime loads it and runs it instead.

1. ``example`` calls the case as its scenario does and keeps the model's arguments, including its recurrent state.
   ``first_state`` finds the initial state.
2. ``FlatModel`` is the model with tensors as inputs and outputs, the form that every exporter takes.
3. ``deploy`` exports and loads the model and replaces its call by that of a ``Runtime``.
   ``export_error`` explains why a model cannot be exported or run.
"""
