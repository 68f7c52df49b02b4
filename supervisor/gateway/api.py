"""The handlers: one method for each operation, and the middleware round all of them."""

import ipaddress
import json
import traceback
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from urllib.parse import quote

from aiohttp import web

from supervisor.gateway import problems
from supervisor.gateway.bodies import read_run_request
from supervisor.gateway.events import Telling
from supervisor.gateway.intake import Intake, request_of
from supervisor.gateway.models import Alive, NotReady, RunRequest
from supervisor.gateway.openapi import document
from supervisor.gateway.operations import OPERATIONS, PUBLIC
from supervisor.gateway.problems import Refusal, json_response
from supervisor.gateway.readiness import Readiness
from supervisor.gateway.runs import Runs
from supervisor.gateway.tokens import NOBODY, Tokens
from supervisor.log import Log
from supervisor.runs.errors import RunIdTaken
from worker.errors import CrewpoolError, PluginBroken, PluginNotFound
from worker.plugins import Catalogue

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
OWNER = web.RequestKey("owner", str)
BUSY_RETRY_S = 5


@dataclass
class Api:
    """Does what operations.py says. `tokens` is None where only this machine may come in."""

    intake: Intake
    runs: Runs
    telling: Telling
    readiness: Readiness
    tokens: Tokens | None
    plugins: Catalogue | None
    max_payload_bytes: int
    most_streams: int
    log: Log

    def application(self) -> web.Application:
        """Return the routes."""
        app = web.Application(
            client_max_size=self.max_payload_bytes, middlewares=[self._explain, self._guard]
        )
        for operation in OPERATIONS:
            app.router.add_route(operation.method, operation.path, getattr(self, operation.name))
        app.on_response_prepare.append(_name_no_versions)
        return app

    # ---- operations

    async def ask(self, request: web.Request) -> web.StreamResponse:
        """Take a run in."""
        asked = await read_run_request(request)
        self._look_for_plugin(asked)
        key = request.headers.get("Idempotency-Key")
        publish = request_of(asked, key, request.get(OWNER, NOBODY))
        try:
            accepted = await self.intake.take(publish)
        except RunIdTaken as error:
            if key is None:
                raise
            told = "The key belongs to a request for something else: give each request its own."
            raise Refusal("key-reused", told, run_id=error.run_id) from None
        is_new = accepted.what not in ("known", "unique")
        location = f"/v1/runs/{quote(accepted.plugin_run_id, safe='')}"
        return json_response(accepted, 202 if is_new else 200, {"Location": location})

    async def show(self, request: web.Request) -> web.StreamResponse:
        """Look at a run."""
        return json_response(await self.runs.get(request.match_info["run_id"]))

    async def events(self, request: web.Request) -> web.StreamResponse:
        """Follow a run."""
        if self.telling.clients >= self.most_streams:
            told = f"{self.most_streams} clients follow runs already: come back later."
            raise Refusal("busy", told, retry_s=BUSY_RETRY_S)
        return await self.telling.tell(request, request.match_info["run_id"])

    async def cancel(self, request: web.Request) -> web.StreamResponse:
        """Cancel a run."""
        return json_response(await self.runs.cancel(request.match_info["run_id"]), 202)

    async def document(self, _request: web.Request) -> web.StreamResponse:
        """Say what there is."""
        text = json.dumps(document(has_tokens=self.tokens is not None))
        return web.Response(text=text, content_type="application/json")

    async def live(self, _request: web.Request) -> web.StreamResponse:
        """Say that we run."""
        return json_response(Alive())

    async def ready(self, _request: web.Request) -> web.StreamResponse:
        """Say whether runs would be taken."""
        told = await self.readiness.look()
        return json_response(told, 503 if isinstance(told, NotReady) else 200)

    # ---- round them

    def _look_for_plugin(self, asked: RunRequest) -> None:
        if self.plugins is None:
            return
        try:
            self.plugins.find(asked.plugin_name)
        except PluginNotFound as error:
            known = ", ".join(error.known[:20])
            told = (
                f"Nothing was published: there is no plugin {asked.plugin_name} (known: {known})."
            )
            raise Refusal("unknown-plugin", told) from None
        except PluginBroken:
            # The supervisor's copy may be mended by the time it comes to the run.
            return

    @web.middleware
    async def _explain(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        try:
            return await handler(request)
        except CrewpoolError as error:
            refusal = problems.refusal_of(error)
            if refusal is not error and refusal.status >= 500:
                self.readiness.note(error)
            return refusal.response()
        except web.HTTPException as error:
            return problems.of_http(error, self.max_payload_bytes).response()
        except ConnectionError:
            raise
        except Exception as error:  # noqa: BLE001  # a bug of ours ends one request, and is told
            where = traceback.extract_tb(error.__traceback__)[-1]
            told = f"{type(error).__name__}: {error}"[:500]
            place = f"{where.filename}:{where.lineno}"
            self.log.error("gateway_failed", error=told, place=place)  # noqa: TRY400  # a line an event
            return Refusal("bug", "The log of the gateway says more.").response()

    @web.middleware
    async def _guard(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        if self.tokens is None:
            # A page from elsewhere, whose name somebody makes point here, sends its own name.
            if not is_loopback(_host_of(request)):
                told = "Ask for 127.0.0.1 or localhost; for others it needs tokens."
                raise Refusal("misdirected", told)
        elif request.path not in PUBLIC:
            owner = self.tokens.owner_of(request.headers.get("Authorization", ""))
            if owner == NOBODY:
                told = "Send Authorization: Bearer, and a token that the gateway knows."
                headers = {"WWW-Authenticate": 'Bearer realm="crewpool"'}
                raise Refusal("unauthorized", told, headers=headers)
            request[OWNER] = owner
        return await handler(request)


async def _name_no_versions(_request: web.Request, response: web.StreamResponse) -> None:
    response.headers["Server"] = "crewpool"


def _host_of(request: web.Request) -> str:
    try:
        return request.url.host or ""
    except ValueError:
        raise Refusal("bad-request", "The header Host is none.") from None


def is_loopback(host: str) -> bool:
    """Whether this is a name or an address of this machine that no other can reach."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host.lower() == "localhost"
