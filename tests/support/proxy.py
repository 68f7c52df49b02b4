"""A TCP proxy between a client and a server that loses and delays replies when told to.

For what happens once a year in production: the command took effect, and nobody heard of it.
It lives in a thread of its own, so that blocking and asyncio tests can use it alike.
"""

import asyncio
import threading
from contextlib import suppress

from tests.support.servers import HOST, free_port


class Proxy:
    """Use as a context manager; `url` is the address for the client."""

    def __init__(self, server):
        self.lost = 0
        self.delay_s = 0.0
        self._target_port = server.port
        self._port = free_port()
        self._words = []
        self._is_cut = False
        self._loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._work, name="proxy", daemon=True)

    @property
    def url(self):
        return f"redis://{HOST}:{self._port}/0"

    def lose_reply_to(self, word, times=1):
        """Cut the connection instead of passing on the reply to a command with this word."""
        self._words += [word.encode().lower()] * times

    def cut(self):
        """Refuse new connections and end the old ones, until mend()."""
        self._is_cut = True
        self._loop.call_soon_threadsafe(self._cut_all)

    def mend(self):
        """Let connections through again."""
        self._is_cut = False

    def __enter__(self):
        self._thread.start()
        assert self._ready.wait(5)
        return self

    def __exit__(self, *_):
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(5)

    def _work(self):
        asyncio.set_event_loop(self._loop)
        self._loop.run_until_complete(self._serve())
        self._loop.run_until_complete(self._loop.shutdown_default_executor())
        self._loop.close()

    async def _serve(self):
        self._stop = asyncio.Event()
        self._writers = set()
        self._connections = set()
        server = await asyncio.start_server(self._connected, HOST, self._port)
        self._ready.set()
        await self._stop.wait()
        server.close()
        self._cut_all()
        await asyncio.gather(*self._connections, return_exceptions=True)

    async def _connected(self, reader, writer):
        if self._is_cut:
            writer.close()
            return
        self._connections.add(asyncio.current_task())
        upstream_reader, upstream = await asyncio.open_connection(HOST, self._target_port)
        self._writers |= {writer, upstream}
        asked = [b""]
        try:
            await asyncio.wait(
                {
                    asyncio.ensure_future(self._requests(reader, upstream, asked)),
                    asyncio.ensure_future(self._replies(upstream_reader, writer, asked)),
                },
                return_when=asyncio.FIRST_COMPLETED,
            )
        finally:
            for end in (writer, upstream):
                end.close()
                with suppress(OSError):
                    await end.wait_closed()
                self._writers.discard(end)

    async def _requests(self, reader, upstream, asked):
        with suppress(OSError):
            while data := await reader.read(1 << 16):
                asked[0] = data.lower()
                upstream.write(data)
                await upstream.drain()

    async def _replies(self, reader, writer, asked):
        with suppress(OSError):
            while data := await reader.read(1 << 16):
                word = next((w for w in self._words if w in asked[0]), None)
                if word is not None:
                    self._words.remove(word)
                    self.lost += 1
                    return
                if self.delay_s:
                    await asyncio.sleep(self.delay_s)
                writer.write(data)
                await writer.drain()

    def _cut_all(self):
        for writer in self._writers:
            writer.close()
