"""What a page of evalkit holds."""

import base64
import gzip
import json
from typing import Any

EMPTY_CHART = "data:image/svg+xml;base64,PHN2ZyB4bWxucz0iaHR0cDovL3d3dy53My5vcmcvMjAwMC9zdmciLz4="  # <svg xmlns="…"/>


def unpacked(data: str) -> dict[str, Any]:
    """The transcripts of a page by column, as its script reads them."""
    packed = json.loads(gzip.decompress(base64.b64decode(data)))
    conversations = {name: [each[name] for each in packed] for name in ("id", "tags", "system", "context", "pictures")}
    names = packed[0]["columns"] if packed else []
    turns = {name: [one for each in packed for one in each["turns"][n]] for n, name in enumerate(names)}
    return {"conversations": conversations, "turns": turns}
