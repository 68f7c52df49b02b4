"""Addresses of Redis and of databases: the forms they may have, and what of them is secret.

Called by the settings and by whoever hands an environment on. Nothing is connected here;
supervisor/streams makes clients of them.
"""

import re
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlencode, urlsplit

FORMS = "redis://, rediss://, unix://, redis+sentinel://, redis+cluster:// or, with TLS, rediss+…"
_SCHEME = re.compile(r"(rediss?(\+sentinel|\+cluster)?|unix)://.")
DATABASES = "sqlite:///path, sqlite:////absolute/path or postgresql://user:password@host/name"
_DATABASE = re.compile(r"sqlite:///.|postgres(ql)?(\+psycopg)?://.")
_SECRET_OPTIONS = ("password", "sentinel_password", "ssl_password", "sslpassword")


def has_known_scheme(url: str) -> bool:
    """Whether the URL begins as one of ours does."""
    return _SCHEME.match(url) is not None


def is_database(url: str) -> bool:
    """Whether the URL begins as one of a database does that holds run records."""
    return _DATABASE.match(url) is not None


def is_encrypted(url: str) -> bool:
    """Whether connections to it speak TLS."""
    return url.startswith("rediss")


def with_files(url: str, files: dict[str, Path | None]) -> str:
    """Return the URL with files of TLS among its options, where redis-py looks for them.

    What the URL says itself wins: of two options with one name the first counts.
    """
    options = {name: str(path.absolute()) for name, path in files.items() if path is not None}
    return f"{url}{'&' if '?' in url else '?'}{urlencode(options)}" if options else url


def passwords_in(url: str) -> list[str]:
    """Return all passwords that the URL holds, as they are and not as they are written."""
    try:
        parts = urlsplit(url)
        options = parse_qs(parts.query)
        found = [unquote(parts.password or "")]
    except ValueError:  # no URL at all; whoever connects says so
        return []
    found += [value for name in _SECRET_OPTIONS for value in options.get(name, ())]
    return [password for password in found if password]


def without_password(url: str) -> str:
    """Return the URL as it may be shown: without the passwords, wherever they stand in it."""
    # Options first: an @ in one of them would else end what is taken for user and password.
    names = "|".join(_SECRET_OPTIONS)
    hidden = re.sub(rf"((?:^|[?&])(?:{names})=)[^&]*", r"\1***", url)
    return re.sub(r"(://).*@", r"\1***@", hidden)
