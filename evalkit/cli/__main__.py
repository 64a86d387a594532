"""The start of the command ``evalkit``, also as ``python -m evalkit.cli`` where the script is not on the path."""

import sys


def main() -> int:
    """Run the command line; its modules are imported here, so that an interrupt meanwhile ends it in words too."""
    try:
        from evalkit.cli.main import main

        return main()
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
