import functools

from evalkit.scorers.function_version import code_version


def factory(value):
    def score(text, target):
        return value

    return score


def plain(text, target, limit=3):
    return limit


class Scores:
    def __init__(self, least):
        self.least = least

    def __call__(self, text, target):
        return self.least


def test_functions_of_one_factory_differ_by_what_they_are_bound_to():
    assert code_version(factory(1)) == code_version(factory(1))
    assert code_version(factory(1)) != code_version(factory(2))
    assert code_version(factory([1, {"a": 2}])) != code_version(factory([1, {"a": 3}]))


def test_so_do_partials_objects_and_functions_with_defaults():
    assert code_version(functools.partial(plain, limit=1)) != code_version(functools.partial(plain, limit=2))
    assert code_version(Scores(1)) != code_version(Scores(2))
    by_default = [lambda text, target, value=value: value for value in (1, 2)]
    assert code_version(by_default[0]) != code_version(by_default[1])


def test_what_has_no_plain_value_counts_by_its_type_so_that_versions_are_the_same_in_each_process():
    assert code_version(factory(object())) == code_version(factory(object()))


def test_what_has_no_source_is_unknown():
    assert code_version(eval("lambda text, target: True")) == "unknown"
    assert code_version(len) == "unknown"
