"""Month names of other languages than English, from the CLDR by Babel."""

from __future__ import annotations

from functools import cache

# those that the scorer language knows and the CLDR has
_LANGUAGES = (
    "af am ar as az be bg bn br bs ca cs cy da de dz el eo es et eu fa fi fo fr ga gl gu he hi hr hu hy id is it ja jv "
    "ka kk km kn ko ku ky lb lo lt lv mk ml mn mr ms mt nb ne nl nn or pa pl ps pt ro ru se si sk sl sq sr sv sw ta te "
    "th tr ug uk ur vi xh zu"
)


def months_of(name: str) -> frozenset[int]:
    """The numbers of the months that have this name in some language; empty if none has.

    Raises
    ------
    ImportError
        Babel is not installed.
    """
    return _names().get(name.casefold().rstrip("."), frozenset())


@cache
def _names() -> dict[str, frozenset[int]]:
    """Every name, in the forms of dates and of headings; a name can be of two months, as listopad is."""
    from babel.dates import get_month_names

    names: dict[str, set[int]] = {}
    for language in _LANGUAGES.split():
        for months in (
            get_month_names("wide", "format", locale=language),
            get_month_names("wide", "stand-alone", locale=language),
            get_month_names("abbreviated", "format", locale=language),
        ):
            for number, name in months.items():
                names.setdefault(name.casefold().rstrip("."), set()).add(number)
    return {name: frozenset(numbers) for name, numbers in names.items()}
