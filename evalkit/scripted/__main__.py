"""``python -m evalkit.scripted``: the scripted server, until it is interrupted."""

from evalkit.scripted.server import main

main()
