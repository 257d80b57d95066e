"""A fresh process for each call: forked from a server that has imported torch, and ended with all that it started.

``processes`` owns the server, which imports ``forkserver_imports`` once; ``running`` is a call in its process;
``start`` is what that process does first; ``needs`` is what the variants of a case ask of it.
"""
