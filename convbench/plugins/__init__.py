"""convbench's own plug-ins, one per file: the registry finds them by name, and no other code imports them.

Each sub-package is the shelf of one kind. The first lookup on a shelf imports all its modules, and each registers its
plug-in with ``convbench.core.registry``. Your own package does the same: it names its modules by an entry point in the
group ``convbench.plugins``, or you name them with ``convbench --plugins MODULE``. A suite may also name a plug-in as
``package.module:attribute``. A plug-in's options are its keyword-only parameters; the first line of its docstring is
its summary.
"""
