"""``python -m evalkit.cli``: the command line, where the script ``evalkit`` is not on the path."""

import sys

from evalkit.cli.main import main

sys.exit(main())
