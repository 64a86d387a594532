import pytest
from matplotlib import pyplot
from matplotlib.figure import Figure

from evalkit.errors import SettingsError
from evalkit.widgets import controls as controls_module
from evalkit.widgets.controls import controls

PNG = b"\x89PNG"


@pytest.fixture
def kernel(monkeypatch):
    monkeypatch.setattr(controls_module, "widgets_available", lambda: True)


def drawn(calls):
    def draw(**chosen):
        calls.append(chosen)
        return Figure(figsize=(1, 1)).subplots()

    return draw


@pytest.mark.usefixtures("kernel")
def test_a_change_of_a_control_draws_the_chart_again():
    calls = []
    parallel, reads, _, picture = controls(drawn(calls), parallel=[1, 4], reads=(2, 8)).children
    assert bytes(picture.value).startswith(PNG)
    parallel.value = 4
    reads.value = 3
    assert calls == [{"parallel": 1, "reads": 5}, {"parallel": 4, "reads": 5}, {"parallel": 4, "reads": 3}]
    assert (parallel.description, reads.description) == ("parallel", "reads")


@pytest.mark.usefixtures("kernel")
def test_a_control_starts_at_the_default_of_its_argument():
    def draw(parallel, reads=8):
        return Figure(figsize=(parallel, reads)).subplots()

    parallel, reads, *_ = controls(draw, parallel=[1, 4], reads=(2, 8)).children
    assert (parallel.value, reads.value) == (1, 8)


@pytest.mark.usefixtures("kernel")
def test_a_chart_keeps_its_own_size_before_and_after_a_change():
    wide, _, picture = controls(lambda wide: Figure(figsize=(wide, 1)).subplots(), wide=[1, 2]).children
    for _ in range(2):  # a box stretches what does not align itself
        assert (picture.layout.align_self, picture.layout.width, picture.layout.max_width) == (
            "flex-start",
            None,
            "100%",
        )
        wide.value = 2


@pytest.mark.usefixtures("kernel")
def test_a_figure_of_pyplot_is_not_left_open():
    controls(lambda wide: pyplot.subplots(figsize=(wide, 1))[0], wide=(1, 2))
    assert not pyplot.get_fignums()


@pytest.mark.usefixtures("kernel")
def test_an_error_after_a_change_is_shown_in_place_of_the_chart_until_the_next_change():
    def draw(size):
        figure = pyplot.figure(figsize=(1, 1))
        if size == 2:
            raise KeyError("no <column> & no row")
        if size == 3:
            return None
        return figure

    size, problem, picture = controls(draw, size=[1, 2, 3]).children
    size.value = 2
    assert (bytes(picture.value), picture.layout.display) == (b"", "none")
    assert problem.value == "<pre>KeyError: &#x27;no &lt;column&gt; &amp; no row&#x27;</pre>"
    size.value = 3
    assert problem.value.startswith("<pre>AttributeError: ")
    assert not pyplot.get_fignums()
    size.value = 1
    assert bytes(picture.value).startswith(PNG)
    assert (problem.value, picture.layout.display) == ("", None)


@pytest.mark.usefixtures("kernel")
def test_an_error_of_the_first_drawing_is_raised():
    with pytest.raises(ZeroDivisionError):
        controls(lambda size: 1 / size, size=[0, 1])


@pytest.mark.usefixtures("kernel")
def test_a_choice_that_is_none_is_named():
    with pytest.raises(SettingsError, match="reads is None"):
        controls(drawn([]), reads=None)


def test_without_widgets_a_text_says_what_is_missing():
    calls = []
    assert "controls for reads needs JupyterLab" in repr(controls(drawn(calls), reads=(1, 2)))
    assert not calls
