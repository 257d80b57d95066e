"""Models in another runtime: PyTorch writes the model to disk, the runtime loads it and runs it in PyTorch's place.

1. ``example`` calls the case as its scenario does and keeps what the model was given, recurrent state included;
   ``first_state`` finds what the model begins with.
2. ``FlatModel`` is the model with tensors in and tensors out: the form in which every exporter takes it.
3. ``deploy`` exports, loads and puts the runtime's call where the model's was. A runtime is an ``Engine``.
   ``export_error`` says why one cannot.
"""
