"""Runs a supervisor to its end: what `crewpool run` and `crewpool up` share.

It says what a stranger needs to know, in the grammar of the log, and turns what only shows
while starting (a server too old, a port taken in the last moment) into bad settings.
"""

import asyncio
import errno
import gc
import os
from contextlib import suppress

from supervisor import __version__
from supervisor.addresses import without_password
from supervisor.cli import preflight
from supervisor.configuration import unknown_variables
from supervisor.embedded.companions import Companions
from supervisor.errors import RedisTooOld, SettingsWrong
from supervisor.log import Log, to_stderr
from supervisor.loop import Supervisor
from supervisor.settings import Settings
from supervisor.streams.server import NamesNeedOneSlot
from supervisor.wiring import wire


def serve(settings: Settings, companions: Companions | None = None) -> int:
    """Return the supervisor's exit code. Raises SettingsWrong.

    Companions that die meanwhile are started again.
    """
    preflight.check(settings)
    to_stderr(settings.log_level)
    _introduce(settings)
    try:
        code = asyncio.run(_run(settings, companions or Companions()))
    except (RedisTooOld, NamesNeedOneSlot) as error:
        raise SettingsWrong([f"REDIS_URL: {error}"]) from None
    except OSError as error:
        # Somebody was faster with the port; anything else is a bug.
        if error.errno == errno.EADDRINUSE:
            preflight.check(settings)
        raise
    # The interpreter looks through all there is once more before it leaves. That took longer
    # than the end of an idle pool, and frees nothing that the end of the process would not.
    gc.freeze()
    return code


async def _run(settings: Settings, companions: Companions) -> int:
    # The parts are made inside the loop that they belong to.
    supervisor = Supervisor(await wire(settings, os.environ, companions.pids))
    keeping = asyncio.create_task(companions.keep_for_ever())
    try:
        return await supervisor.run()
    finally:
        keeping.cancel()
        with suppress(asyncio.CancelledError):
            await keeping


def _introduce(settings: Settings) -> None:
    log = Log()
    log.info(
        "starting",
        version=__version__,
        pid=os.getpid(),
        redis=without_password(settings.redis_url.get_secret_value()),
        plugin_dir=settings.plugin_dir.resolve(),
        config=settings.file().resolve() if settings.file().is_file() else None,
    )
    if settings.http_port:
        base = f"http://{settings.http_host}:{settings.http_port}"
        log.info("probes", live=f"{base}/health/live", ready=f"{base}/health/ready")
    log.info(
        "signals",
        TERM=f"drain up to {settings.drain_s:g}s and hand back the rest",
        INT="stop now and hand back",
        QUIT="the same, stacks first",
        HUP="reload plugins",
        TTIN="a worker more",
        TTOU="a worker less",
        USR1="snapshot to the log",
    )
    for name in unknown_variables(os.environ):
        log.warning("unknown_variable", name=name, hint="misspelt? (crewpool config show)")
