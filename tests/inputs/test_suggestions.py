"""Known names similar to a mistyped one."""

from evalkit.inputs.suggestions import nearest_name, similar_names

KNOWN = ("temperature", "top_p", "tools", "tags")


def test_similar_names_come_best_first():
    assert similar_names("tols", KNOWN) == ["tools"]
    assert similar_names("tool", ["top_p", "toolset", "tools"], most=2) == ["tools", "toolset"]
    assert similar_names("zzz", KNOWN) == []


def test_the_nearest_name_must_be_similar_enough():
    assert nearest_name("temprature", KNOWN) == "temperature"
    assert nearest_name("temp", KNOWN) is None
    assert nearest_name("tols", KNOWN, cutoff=0.95) is None


def test_a_very_long_name_is_compared_by_its_beginning():
    assert nearest_name("temperature" + "x" * 1_000_000, KNOWN) is None
    assert nearest_name("a" * 60 + "b" * 1_000_000, ["a" * 60]) == "a" * 60
