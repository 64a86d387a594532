import os
import threading
import time

from evalkit.runfile.lock_and_flush import FileIdentity, Flusher


def test_commits_are_flushed_soon_and_together(tmp_path, monkeypatch):
    flushed = []
    monkeypatch.setattr(os, "fsync", lambda file: flushed.append(time.monotonic()))
    log = tmp_path / "log"
    log.touch()
    flusher = Flusher(log)
    flusher.start()
    for _ in range(100):
        flusher.note_commit()
        time.sleep(0.001)
    until = time.monotonic() + 10
    while flusher._written.is_set() and time.monotonic() < until:
        time.sleep(0.001)
    flusher.end()
    assert 1 <= len(flushed) < 50
    assert not [thread for thread in threading.enumerate() if thread.name == "evalkit-flusher"]


def test_a_log_that_is_not_there_is_no_matter(tmp_path):
    flusher = Flusher(tmp_path / "gone")
    flusher.start()
    flusher.note_commit()
    time.sleep(0.01)
    flusher.end()


def test_a_file_is_lost_when_it_is_deleted_moved_or_replaced(tmp_path):
    path = tmp_path / "file"
    path.touch()
    whereabouts = FileIdentity(path)
    path.write_text("more")
    assert not whereabouts.lost
    path.rename(tmp_path / "elsewhere")
    assert whereabouts.lost
    path.touch()
    assert whereabouts.lost
    (tmp_path / "elsewhere").replace(path)
    assert not whereabouts.lost
    path.unlink()
    assert whereabouts.lost
