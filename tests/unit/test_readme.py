"""What the README shows is what there is; test_documents.py looks at all documents."""

import re
import shlex
from pathlib import Path

import pytest

from supervisor.configuration import variable_of
from supervisor.errors import Exit
from supervisor.settings import Settings
from supervisor.signals import ASKS
from supervisor.streams.wire import Entry, Request, parse
from worker.plugins import check_settings, discover

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text("utf-8")


def test_the_shown_request_is_one_that_a_shipped_plugin_accepts():
    command = re.search(r"redis-cli XADD .*?\}\}'", README, re.DOTALL)
    words = shlex.split(command[0].replace("\\\n", " "))
    fields = dict(zip(words[4::2], words[5::2], strict=True))

    request = parse(Entry("plugin:requests", "1-1", fields, len(fields["payload"])), 1_000_000)

    assert isinstance(request, Request)
    assert words[2] == Settings.model_fields["requests_stream"].default
    assert check_settings(discover(ROOT / "plugins").find(request.plugin), request.settings)


def test_the_shown_defaults_are_the_defaults(monkeypatch):
    for name in ("REDIS_URL", "PLUGIN_DIR", "CREW_TIMEOUT_SECONDS"):
        monkeypatch.delenv(name, raising=False)
    defaults = {variable_of(name): field.default for name, field in Settings.model_fields.items()}
    rows = re.findall(r"^\| (`[A-Z_`, ]+) \| (`[^|]+`) \|", README, re.MULTILINE)
    shown = {
        name.strip("` "): value.strip("` ")
        for names, values in rows
        for name, value in zip(names.split(","), values.split(","), strict=True)
    }

    assert len(shown) >= 7
    for name, value in shown.items():
        default = defaults[name]
        secret = getattr(default, "get_secret_value", None)
        assert value == str(secret() if secret else default)


@pytest.mark.parametrize("signum", ASKS)
def test_every_signal_is_shown(signum):
    assert signum.name.removeprefix("SIG") in README


@pytest.mark.parametrize("code", Exit)
def test_every_exit_code_is_shown(code):
    assert re.search(rf"\| {int(code)} \|", README)
