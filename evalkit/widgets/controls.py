"""Sliders and menus above a chart."""

from __future__ import annotations

import traceback
from collections.abc import Callable
from html import escape
from inspect import Parameter, signature
from io import BytesIO
from typing import TYPE_CHECKING, Any

from evalkit.errors import SettingsError
from evalkit.widgets.display import TextFallback, widgets_available

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def controls(draw: Callable[..., Axes | Figure], **choices: Any) -> Any:
    """Show a chart under sliders and menus, and draw it again whenever one of them changes.

    Use it with data that is already there: ``draw`` is called for every step of a slider. If it raises after a change,
    the error is shown in place of the chart; nothing else would show it.

    Parameters
    ----------
    draw : callable
        Called with one keyword for each choice; returns a matplotlib Axes or Figure.
    **choices
        For each argument of ``draw`` its values: a pair ``(lowest, highest)`` of numbers for a slider, with a step as
        an optional third; a list for a menu; True or False for a box to tick. A control starts at the default that
        ``draw`` gives the argument, otherwise a slider starts in the middle and a menu at its first value.

    Returns
    -------
    ipywidgets.VBox
        Where widgets are not available, a text.

    Raises
    ------
    SettingsError
        No control can be made of a choice.
    Exception
        Whatever ``draw`` raises for the first chart.
    """
    if not widgets_available():
        return TextFallback(f"a chart with controls for {', '.join(choices)} needs JupyterLab and the notebooks extra")
    import ipywidgets  # type: ignore[import-untyped, unused-ignore]

    arguments = signature(draw).parameters
    made = {
        name: ipywidgets.interactive.widget_from_abbrev(
            choice, arguments[name].default if name in arguments else Parameter.empty
        )
        for name, choice in choices.items()
    }
    for name, control in made.items():
        if control is None:
            raise SettingsError(f"{name} is {choices[name]!r}: use a pair of numbers, a list, or True or False")
        control.description = name
        control.continuous_update = False
    # a box stretches its pictures to its own width: blurred, and too high to see below the controls
    whole = {"align_self": "flex-start", "max_width": "100%"}
    problem, picture = ipywidgets.HTML(), ipywidgets.Image(format="png", layout=whole)

    def drawn() -> bytes:
        return _png(draw, {name: control.value for name, control in made.items()})

    def redraw(_change: Any) -> None:
        try:
            picture.value, problem.value = drawn(), ""
        except Exception as error:  # of the user's function: raised here, it would be seen nowhere
            picture.value, problem.value = b"", f"<pre>{escape(_in_words(error))}</pre>"
        picture.layout.display = "none" if problem.value else None  # browsers mark an empty picture as a broken one

    for control in made.values():
        control.observe(redraw, "value")
    picture.value = drawn()
    return ipywidgets.VBox([*made.values(), problem, picture])


def _in_words(error: Exception) -> str:
    return "".join(traceback.format_exception_only(error)).strip()


def _png(draw: Callable[..., Axes | Figure], chosen: dict[str, Any]) -> bytes:
    """The chart as a picture; its figures of pyplot are closed, so that they are not shown a second time."""
    from matplotlib import pyplot
    from matplotlib.figure import Figure

    earlier = set(pyplot.get_fignums())
    content = BytesIO()
    try:
        drawn = draw(**chosen)
        figure = drawn if isinstance(drawn, Figure) else drawn.get_figure(root=True)
        assert figure is not None
        figure.savefig(content, format="png", bbox_inches="tight")
        pyplot.close(figure)
    finally:
        for number in set(pyplot.get_fignums()) - earlier:
            pyplot.close(number)
    return content.getvalue()
