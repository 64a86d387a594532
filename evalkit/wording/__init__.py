"""Numbers and findings in words, the same in a terminal, a chart, a report and a pull request.

Nothing is measured here, and nothing is laid out: ``console``, ``charts`` and ``report`` place the sentences. Start
with ``numbers``, then ``run_results``.
"""

__all__ = ["comparison", "glossary", "numbers", "run_results", "trends"]
