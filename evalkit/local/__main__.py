"""``python -m evalkit.local``: the process of the embedded endpoint, started by ``server.serve``."""

from evalkit.local.server import main

main()
