"""What the language of a question says about its answer."""

from __future__ import annotations

import re
from functools import lru_cache

# "how many", "how much" and "which" where 1.234 is a thousand and 1,234 is between one and two
_DECIMAL_COMMA = re.compile(
    r"""¿ | \b(?: wie\ viele?s? | wieviele? | wie\ (?:lang|hoch|groß|schwer|teuer) | combien | quell?e?s?
        | quant[oaie]s? | hoeveel | ile | сколько | скільки | kaç | hur\ (?:många|mycket) | hvor\ (?:mange|meget|mye)
        | kolik | koliko | berapa | cuánt[oa]s? | hány | mennyi | câț[ie] | πόσ[αοεη]\w* )\b""",
    re.IGNORECASE | re.VERBOSE,
)


@lru_cache(maxsize=256)
def writes_decimal_comma(question: str) -> bool:
    """Whether a question asks for a number in a language that writes a decimal comma.

    Some of its speakers write a point, as in Mexico, so it allows this reading and does not require it.
    """
    return _DECIMAL_COMMA.search(question[:5_000]) is not None
