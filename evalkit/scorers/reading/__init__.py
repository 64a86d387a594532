"""Reading of text by people and models: numbers and their units, dates, the letter chosen, marks of the final answer,
numbers mentioned in passing, and a leading think block. Text in, values out; nothing here scores. Start with
``numbers``.
"""

__all__ = ["characters", "dates", "letters", "numbers", "think_block", "units"]
