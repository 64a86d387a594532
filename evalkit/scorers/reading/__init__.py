"""Reading of text by people and models: numbers and their units, dates, the letter chosen, JSON, marks of the final
answer, what follows it (a correction, a check, another question), and a leading think block. Text in, values out;
nothing here scores. Start with ``final_number``.
"""

__all__ = [
    "characters",
    "dates",
    "extracted_place",
    "final_number",
    "json_text",
    "letters",
    "numbers",
    "numbers_in_passing",
    "open_numbers",
    "option_texts",
    "question_language",
    "think_block",
    "units",
]
