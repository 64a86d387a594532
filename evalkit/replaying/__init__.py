"""Single requests, outside of a run: the request of a turn that a run has recorded, and a request that was copied as
cURL. Both are a ``ChatRequest``, which is printed as code or sent again. Nothing in a pasted command is executed, and
nothing is stored. Start with ``chat_request``; ``recorded_turn`` reads a run file, ``pasted_curl`` a command, whose
words ``shell_words`` finds.
"""

__all__ = ["pasted_curl", "recorded_turn", "replay"]
