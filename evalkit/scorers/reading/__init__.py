"""What people and models write, read: numbers and their units, dates, the letter chosen, where an answer says that it
is final, what is only mentioned in passing, and a leading think block. Text in, values out; nothing here judges.
Start with ``numbers``.
"""

__all__ = ["characters", "dates", "letters", "numbers", "think_block", "units"]
