"""Record the load tests that notebook 08 reads, with the embedded model on this machine.

    python tests/support/record_load.py

Takes about six minutes on two idle cores. Nothing else may run meanwhile: whatever else uses the processor is in the
times. Arguments: the folder, and how many conversations a step has.
"""

import shutil
import sys
import tempfile
from pathlib import Path

from portable_runs import make_portable

import evalkit as ek

DATA = Path(__file__).parents[2] / "data"
DATASET = DATA / "primary_math.jsonl"
RATES = (0.1, 0.4, 1.6)  # conversations per second, of about three turns each
CONVERSATIONS = 16  # of each step, after the warm-up


def main(folder, conversations):
    params = {"temperature": 0, "max_tokens": 16}
    made = Path(tempfile.mkdtemp(dir=folder.parent))
    with ek.local_endpoint(params=params) as endpoint:
        ek.evaluate(DATASET, endpoint, out=made / "first.evalkit", limit=2)  # the first answers are slow
        (made / "first.evalkit").unlink()
        closed = {"concurrency": (1, 2, 4, 8), "per_step": conversations}
        ek.load(DATASET, endpoint, out=made / "closed", past_saturation=True, **closed)
        ek.load(
            DATASET, endpoint, out=made / "open", rate=RATES, warm_up=0, per_step=conversations, past_saturation=True
        )
        limited = {"rate": RATES[-1], "concurrency": 2, "limit": conversations, "retries": 0}
        ek.evaluate(DATASET, endpoint, out=made / "two_slots" / f"rate-{RATES[-1]:g}.evalkit", **limited)
    for path in made.rglob("*.evalkit"):
        make_portable(path)
    shutil.rmtree(folder, ignore_errors=True)
    made.rename(folder)


if __name__ == "__main__":
    arguments = sys.argv[1:]
    main(
        Path(arguments[0]) if arguments else DATA / "course" / "load",
        int(arguments[1]) if arguments[1:] else CONVERSATIONS,
    )
