"""The handlers: one method for each operation, and the middleware round all of them."""

import json
import time
import traceback
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import cached_property
from urllib.parse import quote

from aiohttp import web

from supervisor.gateway import problems
from supervisor.gateway.answers import Answers, Room
from supervisor.gateway.bodies import idempotency_key_of, read_run_request
from supervisor.gateway.events import Telling
from supervisor.gateway.intake import Intake, request_of
from supervisor.gateway.models import Alive, NotReady, RunRequest
from supervisor.gateway.openapi import document
from supervisor.gateway.operations import EVENTS, OPERATIONS, OTHER, PUBLIC
from supervisor.gateway.origins import refuse_strangers
from supervisor.gateway.problems import BUSY_RETRY_S, Refusal, json_response
from supervisor.gateway.readiness import Readiness
from supervisor.gateway.runs import Runs
from supervisor.gateway.tokens import NOBODY, Tokens
from supervisor.log import Log
from supervisor.observe.gateway import GatewayMetrics
from supervisor.runs.errors import RunIdTaken
from worker.errors import CrewpoolError, PluginBroken, PluginNotFound
from worker.plugins import Catalogue

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
OWNER = web.RequestKey("owner", str)
# The run that is asked for, from when it may have been accepted on.
ASKED_FOR = web.RequestKey("asked_for", str)
_NAMES = {(operation.method, operation.path): operation.name for operation in OPERATIONS}


@dataclass
class Api:
    """Does what operations.py says. `tokens` is None where only this machine may come in.

    `asking` is room for the bodies of requests.
    """

    intake: Intake
    asking: Room
    answers: Answers
    metrics: GatewayMetrics
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
            client_max_size=self.max_payload_bytes, middlewares=[self._answer, self._guard]
        )
        for operation in OPERATIONS:
            app.router.add_route(operation.method, operation.path, getattr(self, operation.name))
        app.on_response_prepare.append(_name_no_versions)
        return app

    # ---- operations

    async def ask(self, request: web.Request) -> web.StreamResponse:
        """Take a run in."""
        length, most_bytes = request.content_length, self.max_payload_bytes
        with self.asking.taken(most_bytes if length is None else min(length, most_bytes)):
            return await self._ask(request)

    async def _ask(self, request: web.Request) -> web.StreamResponse:
        asked = await read_run_request(request)
        self._look_for_plugin(asked)
        key = idempotency_key_of(request.headers)
        publish = request_of(asked, key, request.get(OWNER, NOBODY))
        request[ASKED_FOR] = publish.plugin_run_id
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
            # Not kept: its connection would take the place of somebody who asks for a run.
            raise Refusal("busy", told, retry_s=BUSY_RETRY_S, headers={"Connection": "close"})
        return await self.telling.tell(request, request.match_info["run_id"])

    async def cancel(self, request: web.Request) -> web.StreamResponse:
        """Cancel a run."""
        return json_response(await self.runs.cancel(request.match_info["run_id"]), 202)

    async def document(self, _request: web.Request) -> web.StreamResponse:
        """Say what there is."""
        return web.Response(text=self._document, content_type="application/json")

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

    @cached_property
    def _document(self) -> str:
        # Anybody may ask for it, and it takes a while to make.
        return json.dumps(document(has_tokens=self.tokens is not None))

    @web.middleware
    async def _answer(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Answer whatever happens, until the client has the answer, and count it."""
        operation, began_at = _operation_of(request), time.monotonic()
        response = await self._answered(request, handler)
        if isinstance(response, web.Response):
            response = await self.answers.send(request, response)
        took_s = None if operation == EVENTS else time.monotonic() - began_at
        self.metrics.answered(operation, response.status, took_s)
        return response

    async def _answered(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        try:
            return await handler(request)
        except ConnectionError:
            raise
        except CrewpoolError as error:
            refusal = problems.refusal_of(error)
            if refusal is not error and refusal.status >= 500:
                self.readiness.note(error)
        except web.HTTPException as error:
            refusal = problems.of_http(error, self.max_payload_bytes)
        except Exception as error:  # noqa: BLE001  # a bug of ours ends one request, and is told
            where = traceback.extract_tb(error.__traceback__)[-1]
            told = f"{type(error).__name__}: {error}"[:500]
            place = f"{where.filename}:{where.lineno}"
            self.log.error("gateway_failed", error=told, place=place)  # noqa: TRY400  # a line an event
            refusal = Refusal("bug", "The log of the gateway says more.")
        if refusal.status >= 500 and refusal.run_id is None:
            # It may have been accepted, and whoever gave it no id must know the one it has.
            refusal.run_id = request.get(ASKED_FOR)
        self.metrics.refused(refusal.kind)
        return refusal.response()

    @web.middleware
    async def _guard(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        if self.tokens is None:
            refuse_strangers(request)
        elif request.path not in PUBLIC:
            owner = self.tokens.owner_of(request.headers.get("Authorization", ""))
            if owner == NOBODY:
                told = "Send Authorization: Bearer, and a token that the gateway knows."
                headers = {"WWW-Authenticate": 'Bearer realm="crewpool"'}
                raise Refusal("unauthorized", told, headers=headers)
            request[OWNER] = owner
        return await handler(request)


async def _name_no_versions(_request: web.Request, response: web.StreamResponse) -> None:
    response.headers["Server"] = problems.SERVER


def _operation_of(request: web.Request) -> str:
    resource = request.match_info.route.resource
    path = resource.canonical if resource is not None else ""
    return _NAMES.get((request.method, path), OTHER)
