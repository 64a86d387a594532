"""The start of the command ``evalkit``, also as ``python -m evalkit.cli`` where the script is not on the path."""

import os
import sys


def main() -> int:
    """Run the command line; its modules are imported here, so that an interrupt meanwhile ends it in words too."""
    try:
        from evalkit.cli.main import main

        return main()
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr, flush=True)
        os._exit(130)  # Python would end by the signal if it came while a class was made; nothing is open yet


if __name__ == "__main__":
    sys.exit(main())
