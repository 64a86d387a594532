"""Runs and datasets in the formats of other tools: examples for fine-tuning, logs of inspect, OpenTelemetry spans,
requests of the OpenAI batch API. Tables of turns are in ``runfile.exports``. Each format has a module. Start with
``formats``, which lists those made of a run.
"""

__all__ = ["formats", "openai_batch", "request_ids"]
