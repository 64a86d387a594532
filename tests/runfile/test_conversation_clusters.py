import sqlite3

import numpy as np
import pytest

from evalkit.runfile.conversation_clusters import conversation_clusters, index_of


@pytest.fixture
def connection():
    made = sqlite3.connect(":memory:")
    made.execute("CREATE TABLE conversation (position INTEGER PRIMARY KEY, cluster TEXT)")
    rows = [(0, None), (1, "a"), (2, "b"), (4, "a"), (5, None), (6, "b")]  # the conversation at 3 has not started
    made.executemany("INSERT INTO conversation VALUES (?, ?)", rows)
    yield made
    made.close()


def test_a_conversation_is_its_own_cluster_and_groups_are_numbered_after_all(connection):
    assert conversation_clusters(connection).tolist() == [0, 7, 8, 3, 7, 5, 8]


def test_of_some_positions_only_their_groups_are_numbered_by_first_occurrence(connection):
    assert conversation_clusters(connection, np.array([0, 2, 4, 6])).tolist() == [0, 4, 5, 4]
    assert conversation_clusters(connection, np.array([0, 5])).tolist() == [0, 1]


def test_a_run_without_conversations_has_no_clusters(connection):
    connection.execute("DELETE FROM conversation")
    assert len(conversation_clusters(connection)) == 0
    assert len(conversation_clusters(connection, np.empty(0, dtype=np.int64))) == 0


@pytest.mark.parametrize(("position", "index"), [(2, 0), (5, 1), (9, 2), (1, None), (3, None), (10, None)])
def test_index_of_a_position(position, index):
    assert index_of(np.array([2, 5, 9]), position) == index
