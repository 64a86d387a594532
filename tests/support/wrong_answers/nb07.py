"""Wrong answers to the exercises of notebook 07."""

WRONG = {
    "07.1": [None, "0.5", 8.0, 15.5, -1.6, 0.41, 0.0049, -15.5, 0.6, True],
    "07.2": [
        None,
        0.43,
        lambda passed, tpr, tnr: None,
        lambda passed, tpr, tnr: passed,
        lambda passed, tpr, tnr: (passed + tnr - 1) / (tpr + tnr - 1),
        lambda passed, tpr, tnr: min(max((passed + tnr - 1) / (tpr + tnr - 1), 0.0), 1.0),
        lambda passed, tpr, tnr: max((passed + tnr - 1) / (tpr + tnr - 1), 0.0) if tpr + tnr > 1 else None,
        lambda passed, tpr, tnr: min(max((passed + tnr - 1) / (tpr + tnr - 1), 0.0), 1.0) if tpr + tnr != 1 else None,
    ],
    "07.3": [None, "", "a", "b", "d", 3, "the prompts are equally good"],
    "07.4": [None, "324", 242, 89, 80, 118, 170, 377, 2422, 126, 15, 400, [324]],
}
