"""The command line: one file per command, each thin, from parsed arguments to an exit code.

Flags that several commands share are in ``shared_flags``; what a command prints is in ``console``. To add a command,
write one file here and list it in ``main``. Start with ``main``.
"""
