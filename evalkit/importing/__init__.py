"""Answers that another tool has collected, made into a run file without times: plain answers, logs of inspect, samples
of the lm-evaluation-harness, output files of the OpenAI batch API. Each form has a module that reads it and yields an
``ImportedAnswer`` for each answer; ``import_run`` writes them. Nothing is sent, and nothing that a file names is
executed. Start with ``import_run``.
"""

__all__ = ["import_run"]
