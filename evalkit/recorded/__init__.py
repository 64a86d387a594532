"""A recorded endpoint: answers requests with what was recorded, so that notebooks and CI need no model.

A recording is a file of HTTP exchanges: ``recorder`` writes one while it passes requests on to the embedded model, and
``run_exchanges`` makes one of a run file. ``player`` serves it on loopback. Files may come from strangers, so they are
checked and limited, and nothing in them is executed. A server that invents its answers is ``scripted``, not this.
Start with ``exchange``, then ``matching``, which decides what answers a request.
"""

__all__ = ["player", "recorder"]
