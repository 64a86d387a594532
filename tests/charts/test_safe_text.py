import matplotlib as mpl
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from evalkit.charts import safe_text


@pytest.fixture
def old_matplotlib(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(safe_text, "_orders_right_to_left", lambda: False)


def drawn(text: str) -> None:
    """Draw it, with warnings as errors: a missing glyph is one, and so is bad mathematics."""
    page = Figure()
    with mpl.rc_context({"font.family": list(safe_text.families())}):
        page.text(0.1, 0.5, text)
    FigureCanvasAgg(page).draw()


@pytest.mark.parametrize(
    "name",
    [
        "plain", "", " ", "price in $", "$x_1$ and $", r"$\frac{1}{$", r"C:\models\new", "\\", "_^{}", "a\nb\tc",
        "نموذج عربي",
        "מודל", "😀 🚀", "👩‍👩‍👧‍👦", "模型", "e\u0301\u0342", "\u202egnp.exe",
        "\ud800", "\x1b[31mred\x1b[0m", "\x00", "x" * 10_000, "𓀀𓂀",
        "\U0010ffff",
    ],
)  # fmt: skip
def test_any_name_is_drawn_without_a_warning(name: str) -> None:
    shown = safe_text.name(name)
    assert shown
    assert len(shown) < 800
    drawn(shown)


def test_a_dollar_sign_does_not_start_mathematics() -> None:
    page = Figure()
    text = page.text(0, 0, safe_text.name("$a_1$ costs 3$"))
    assert text._preprocess_math(text.get_text()) == ("$a_1$ costs 3$", False)
    assert safe_text.unescaped(safe_text.name(r"$\a$")) == r"$\a$"


def test_characters_without_a_font_are_spelled_out_and_others_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(safe_text, "families", lambda: (safe_text.FONT,))
    safe_text.drawable.cache_clear()
    assert safe_text.name("fast 🚀") == "fast ⟨rocket⟩"
    assert safe_text.name("模型-7b") == "⟨U+6A21 U+578B⟩-7b"
    assert safe_text.name("über ∑") == "über ∑"
    safe_text.drawable.cache_clear()


def test_control_and_direction_characters_are_removed() -> None:
    assert safe_text.name("a\u202eb\u2066c\u200d") == "abc"
    assert safe_text.name("two\r\nlines\x1b[0m") == "two  lines\ufffd[0m"


def test_a_long_name_keeps_both_ends() -> None:
    shown = safe_text.name("org/model-" + "x" * 100 + "-q4_0", 30)
    assert (len(shown), shown[:10], shown[-5:]) == (30, "org/model-", "-q4_0")


def test_an_older_matplotlib_gets_right_to_left_letters_as_they_are_seen(old_matplotlib: None) -> None:
    assert safe_text.name("v2 אב גד x") == "v2 דג בא x"
    assert safe_text.name("אבג") == "גבא"
    assert safe_text.name("gpt-אבג") == "gpt-גבא"
