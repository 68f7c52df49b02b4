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
        # A connection that was taken in a moment ago has to have begun, so that it ends.
        await asyncio.sleep(0)
        left = list(self._connections)
        for connection in left:
            connection.cancel()
        await asyncio.gather(*left, return_exceptions=True)

    async def _connected(self, reader, writer):
        self._connections.add(asyncio.current_task())
        ends = [writer]
        try:
            if not self._is_cut:
                upstream_reader, upstream = await asyncio.open_connection(HOST, self._target_port)
                ends.append(upstream)
                self._writers.update(ends)
                await self._pass_on(reader, writer, upstream_reader, upstream)
        finally:
            self._connections.discard(asyncio.current_task())
            for end in ends:
                end.close()
                with suppress(OSError):
                    await end.wait_closed()
                self._writers.discard(end)

    async def _pass_on(self, reader, writer, upstream_reader, upstream):
        asked = [b""]
        ways = {
            asyncio.ensure_future(self._requests(reader, upstream, asked)),
            asyncio.ensure_future(self._replies(upstream_reader, writer, asked)),
        }
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for way in ways:
                way.cancel()

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
