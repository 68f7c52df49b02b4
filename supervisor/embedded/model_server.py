"""The HTTP side of the offline model: OpenAI's endpoints on a socket we were given.

Started by offline_model.py as `python -P -m supervisor.embedded.model_server FD`; the
supervisor itself never runs it. It keeps nothing between two requests, and checks no key:
it listens on 127.0.0.1 and gives away nothing that was not in the request.
"""

import json
import socket
import sys
import time
from collections.abc import Awaitable, Callable

from aiohttp import web

from supervisor.embedded.answer import answer
from supervisor.embedded.embeddings import embeddings
from supervisor.embedded.wire import (
    MODEL,
    BadRequest,
    Reply,
    Request,
    chunks,
    completion,
    error_body,
    read_object,
    read_request,
)

MAX_BODY_BYTES = 4 * 1024 * 1024
SHUTDOWN_S = 1.0

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def make_app() -> web.Application:
    """Return the application with its routes."""
    app = web.Application(client_max_size=MAX_BODY_BYTES, middlewares=[errors_as_openai])
    app.router.add_post("/v1/chat/completions", chat)
    app.router.add_post("/v1/embeddings", embed)
    app.router.add_get("/v1/models", models)
    app.router.add_get("/v1/models/{name:.+}", model)
    return app


@web.middleware
async def errors_as_openai(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Give every refusal the shape that clients of OpenAI can read."""
    try:
        return await handler(request)
    except BadRequest as error:
        return web.json_response(error_body(str(error), error.param), status=error.status)
    except web.HTTPRequestEntityTooLarge:
        text = f"The body is larger than {MAX_BODY_BYTES} bytes."
        return web.json_response(error_body(text), status=413)
    except web.HTTPException as error:
        text = f"{request.method} {request.path[:200]}: {error.reason}. The offline model has "
        text += "POST /v1/chat/completions, POST /v1/embeddings and GET /v1/models."
        return web.json_response(error_body(text), status=error.status)


async def chat(request: web.Request) -> web.StreamResponse:
    """Answer POST /v1/chat/completions."""
    asked = read_request(await request.read())
    reply = answer(asked)
    if asked.is_stream:
        return await _stream(request, asked, reply)
    return web.json_response(completion(asked, reply, int(time.time())))


async def embed(request: web.Request) -> web.StreamResponse:
    """Answer POST /v1/embeddings."""
    return web.json_response(embeddings(read_object(await request.read())))


async def models(_: web.Request) -> web.StreamResponse:
    """Answer GET /v1/models with the one model there is."""
    return web.json_response({"object": "list", "data": [_card(MODEL)]})


async def model(request: web.Request) -> web.StreamResponse:
    """Answer GET /v1/models/NAME: any name will do, as it does in a request."""
    return web.json_response(_card(request.match_info["name"]))


def _card(name: str) -> dict[str, str | int]:
    return {"id": name, "object": "model", "created": 0, "owned_by": "crewpool"}


async def _stream(request: web.Request, asked: Request, reply: Reply) -> web.StreamResponse:
    response = web.StreamResponse(
        headers={"Content-Type": "text/event-stream", "Cache-Control": "no-cache"}
    )
    await response.prepare(request)
    for chunk in chunks(asked, reply, int(time.time())):
        await response.write(f"data: {json.dumps(chunk)}\n\n".encode())
    await response.write(b"data: [DONE]\n\n")
    await response.write_eof()
    return response


def main(number: str) -> None:
    """Serve on the listening socket with that file number until TERM."""
    listening = socket.socket(fileno=int(number))
    web.run_app(
        make_app(),
        sock=listening,
        print=None,
        access_log=None,
        shutdown_timeout=SHUTDOWN_S,
    )


if __name__ == "__main__":
    main(sys.argv[1])
