"""The machine and the software that a number belongs to.

``environment`` describes both and makes the fingerprint; ``doctor`` says what can be measured here; ``malloc`` and
``allocators`` hold the C allocator, ``nvml`` asks the GPU, ``toolchain`` the compiler, ``process_end`` explains a
death.
"""
