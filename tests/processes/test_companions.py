"""Programs beside a supervisor that die, with real ones that do."""

import asyncio
import contextlib
import logging
import re

import pytest

from supervisor.embedded.children import Child
from supervisor.embedded.companion import Companion
from supervisor.embedded.companions import Companions
from tests.support.linux import is_alive
from tests.support.waiting import wait_until


class Dies(Companion):
    """Runs a line of shell, and cannot be started again as often as it was told."""

    name = "dies"

    def __init__(self, line, output, refusals=0):
        super().__init__()
        self._line, self._output, self._refusals = line, output, refusals

    def start(self):
        self._child = Child(["/bin/sh", "-c", self._line], output=self._output)

    def begin_again(self):
        self.child.stop(1)
        if self._refusals:
            self._refusals -= 1
            raise OSError("no room")
        self.start()

    def stop(self):
        self.child.stop(1)


@pytest.fixture
def output(tmp_path):
    with (tmp_path / "output").open("wb") as file:
        yield file


def kept_until(companions, fact):
    """Keep them for as long as that is not so."""

    async def keep():
        keeping = asyncio.create_task(companions.keep_for_ever())
        await asyncio.to_thread(wait_until, fact, 10)
        keeping.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await keeping

    asyncio.run(keep())


def test_one_that_dies_again_and_again_is_started_after_longer_and_longer_waits(output, caplog):
    caplog.set_level(logging.INFO)
    with Companions() as companions:
        companions.start(Dies("exit 3", output))
        kept_until(companions, lambda: caplog.text.count("companion_died") == 3)

    waits = re.findall(
        r"companion_died name=dies pid=\d+ how=.exit 3. again_in_s=(\d+)", caplog.text
    )
    assert waits == ["0", "1", "2"]
    assert not companions.pids


def test_one_that_the_system_does_not_start_is_tried_again(output, caplog):
    caplog.set_level(logging.INFO)
    with Companions() as companions:
        first = Dies(
            "test -e begun && exec sleep 60; touch begun; kill -TERM $$", output, refusals=1
        )
        first._line = f"cd {output.name.rpartition('/')[0]}; {first._line}"
        companions.start(first)
        kept_until(companions, lambda: "companion_started" in caplog.text)
        (pid,) = companions.pids

        assert is_alive(pid)
        assert "how=SIGTERM" in caplog.text
        assert 'companion_not_started name=dies error="no room"' in caplog.text
    assert not is_alive(pid)
