"""Commands end normally when the reader of their output exits early."""

import subprocess
import sys
import textwrap

import pytest

CODE = """
    import sys
    from evalkit.process.standard_streams import tolerate_closed_readers
    with tolerate_closed_readers():
        for _ in range(50_000):
            print("a line", file=sys.{stream})
    sys.exit(7)
"""


@pytest.mark.parametrize("stream", ["stdout", "stderr"])
def test_a_command_ends_normally_when_its_reader_exits(stream):
    command = [sys.executable, "-c", textwrap.dedent(CODE).format(stream=stream)]
    with subprocess.Popen(command, **{stream: subprocess.PIPE}) as child:
        getattr(child, stream).readline()
        getattr(child, stream).close()
        assert child.wait(30) == 7


def test_what_is_written_arrives():
    code = textwrap.dedent(CODE).format(stream="stdout").replace("a line", "größe ☃")
    done = subprocess.run([sys.executable, "-X", "utf8", "-c", code], capture_output=True, timeout=30, check=False)
    assert done.stdout.decode().splitlines() == ["größe ☃"] * 50_000
    assert done.returncode == 7


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_closed_streams_are_no_error(closed):
    done = subprocess.run(
        f"{sys.executable} -m evalkit.cli show nothing.evalkit {closed}", shell=True, capture_output=True, check=False
    )
    assert done.returncode == 2
