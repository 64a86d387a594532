"""The start of the command ``evalkit``, also as ``python -m evalkit.cli`` where the script is not on the path."""

import atexit
import os
import signal
import sys
from types import FrameType
from typing import NoReturn

STOPPED = (130, 143)  # exit codes of what an interrupt or SIGTERM ended


def main() -> int:
    """Run the command line; its modules are imported here, so that a signal meanwhile ends it in words too."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, _stopped)
    from evalkit.cli.main import main

    code = main()
    if code in STOPPED:  # Python itself would end by the signal if it came while a class was made
        atexit._run_exitfuncs()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    return code


def _stopped(number: int, frame: FrameType | None) -> NoReturn:
    """End at once: an exception while modules load could end in a crash, and nothing is open yet."""
    os.write(2, b"stopped\n")
    os._exit(128 + number)


if __name__ == "__main__":
    sys.exit(main())
