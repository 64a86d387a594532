"""Wrong answers to the exercises of notebook 09."""

from xml.etree import ElementTree


def _cases(xml, *tags):
    cases = ElementTree.fromstring(xml).iter("testcase")
    return [case.get("name") for case in cases if any(case.find(tag) is not None for tag in tags)]


GATES = ["accuracy[3].low>=0.05", "errors<2%", "ttft_p95.high<=1.5s"]

WRONG = {
    "09.1": [
        None,
        "accuracy[3].low>=0.05",
        GATES[:2],
        [*GATES[:2], 1.5],
        ["accuracy[3].low>=5", *GATES[1:]],
        ["accuracy.low>=0.05", *GATES[1:]],
        ["accuracy[3]>=0.05", *GATES[1:]],
        ["accuracy[3].low>=0.5", *GATES[1:]],
        ["accuracy.low[3]>=0.05", *GATES[1:]],
        ["accuracy_all[3].low>=0.05", *GATES[1:]],
        [GATES[0], "errors<=2%", GATES[2]],
        [GATES[0], "errors<0.2", GATES[2]],
        [*GATES[:2], "ttft_p95.high<1.5s"],
        [*GATES[:2], "ttft_p95.low<=1.5s"],
        [*GATES[:2], "ttft_p99.high<=1.5s"],
        [*GATES[:2], "ttft_p95.high<=1.5"],
        ["", "", ""],
    ],
    "09.2": [
        None,
        [],
        lambda xml: None,
        lambda xml: _cases(xml, "failure"),
        lambda xml: _cases(xml, "failure", "error", "system-out"),
        lambda xml: _cases(xml, "failure", "error", "skipped"),
        lambda xml: len(_cases(xml, "failure", "error")),
        lambda xml: _cases(xml, "error"),
        lambda xml: _cases(xml, "failure") + _cases(xml, "error"),
        lambda xml: [],
    ],
    "09.3": [
        None,
        "bde",
        {"a", "b"},
        {"b"},
        {""},
        {"d", "e"},
        {"b", "d"},
        {"b", "e"},
        {"b", "c", "d", "e"},
        {"b", "d", "e", "f"},
        {"a", "c", "f"},
        set("abcdef"),
    ],
    "09.4": [None, "1.77", 2.966175, 1.41204, 3.384825, 0.01, 1765.05, 1.05903, 0],
}
