import numpy as np
import pytest
from comparing import answers, run
from runfiles import T

from evalkit.comparing.comparison import compare
from evalkit.stats import paired
from evalkit.stats.multiple_tests import holm


def files(folder, shares, count=200, repeats=(1, 1, 1, 1)):
    rng = np.random.default_rng(1)
    level = rng.random(count)
    paths = []
    for number, (share, times) in enumerate(zip(shares, repeats, strict=False)):
        turns = [
            T(f"c{n:03}", 1, repeat=repeat, score=float((level[n] + rng.random()) / 2 < share))
            for n in range(count)
            for repeat in range(1, times + 1)
        ]
        paths.append(run(folder / f"{number}.evalkit", turns))
    return paths


def test_runs_are_ranked_with_groups_that_cannot_be_told_apart(tmp_path):
    comparison = compare(*files(tmp_path, (0.5, 0.8, 0.52, 0.3)))
    ranks = comparison.ranks
    assert ranks.runs[0].label == "B"
    assert [(each.rank, each.worst_rank, each.groups) for each in ranks.runs] == [
        (1, 1, "a"), (2, 3, "b"), (2, 3, "b"), (4, 4, "c"),
    ]  # fmt: skip
    assert (ranks.turns, ranks.clusters, ranks.tests) == (200, 200, 6)
    told = comparison.to_json()["ranks"]
    assert (told["correction"], told["runs"][0]["groups"]) == ("Holm", "a")


def test_all_pairs_are_tested_on_the_turns_of_all_runs_and_corrected_together(tmp_path):
    paths = files(tmp_path, (0.5, 0.56, 0.62))
    ranks = compare(*paths).ranks
    scores = [
        [contrast.first, contrast.second]
        for contrast in (compare(*pair).contrasts[0].paired.pairs for pair in (paths[:2], paths[1:], paths[::2]))
    ]
    ps = holm([paired.difference(*sides, np.arange(200)).p for sides in scores])
    different = sum(p < 0.05 for p in ps)
    assert sum(each.rank - 1 for each in ranks.runs) == different


def test_runs_that_failed_elsewhere_are_ranked_on_what_all_answered(tmp_path):
    scores = [1.0, 0.0] * 20
    first, second, third = answers(scores), answers(scores), answers(scores)
    second[0] = T("c000", 1, error="server")
    third[1] = T("c001", 1, error="server")
    paths = [run(tmp_path / f"{n}.evalkit", turns) for n, turns in enumerate((first, second, third[:-1]))]
    ranks = compare(*paths).ranks
    assert ranks.turns == 37
    assert {(each.rank, each.worst_rank, each.groups) for each in ranks.runs} == {(1, 3, "a")}
    assert [each.accuracy for each in ranks.runs] == [pytest.approx(19 / 37)] * 3


def test_runs_with_other_numbers_of_repeats_are_ranked_by_means(tmp_path):
    ranks = compare(*files(tmp_path, (0.5, 0.5, 0.9), repeats=(2, 2, 1))).ranks
    assert ranks.turns == 200
    assert (ranks.runs[0].label, ranks.runs[0].rank) == ("C", 1)


def test_two_runs_have_no_ranks_and_runs_without_a_common_turn_have_none(tmp_path):
    assert compare(*files(tmp_path, (0.5, 0.6))).ranks is None
    failed = [T("c000", 1, error="server")]
    paths = [run(tmp_path / f"x{n}.evalkit", failed if n else answers([1.0])) for n in range(3)]
    assert compare(*paths).ranks.runs == ()
