"""Where a request may come from while no token is asked for: from this machine, and not from a
page of somebody else's that a browser on this machine shows.

Such a page needs nobody's leave to POST here. It does so under an address of this machine, and
then the browser sends the page's Origin; or under a name of its own that it makes point here (DNS
rebinding), and then that name is the Host. Pages that this machine serves itself may ask.

No other Host is legitimate: without tokens the gateway listens on an address of this machine
only, so no name of a service and no other machine's proxy leads to it. Whoever needs one has a
file of tokens, and with it nothing is asked of Host and Origin: no page can add the token.
"""

import ipaddress

from aiohttp import web
from yarl import URL

from supervisor.gateway.problems import Refusal


def refuse_strangers(request: web.Request) -> None:
    """Raise Refusal for a request that a page from elsewhere may have sent."""
    # Not request.host: without the header it asks a name server for ours, and we would wait.
    if not is_loopback(_host_in(f"http://{request.headers.get('Host', '')}")):
        raise Refusal("misdirected", "Ask for 127.0.0.1 or localhost; for others it needs tokens.")
    if not all(is_loopback(_host_in(origin)) for origin in request.headers.getall("Origin", ())):
        told = "Pages of this machine may ask; for others it needs tokens."
        raise Refusal("foreign-page", told)


def is_loopback(host: str) -> bool:
    """Whether this is a name or an address of this machine that no other can reach."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def _host_in(url: str) -> str:
    try:
        return URL(url).host or ""
    except ValueError:
        raise Refusal("bad-request", "The header Host or Origin is none.") from None
