"""What the documents show is what there is: commands, settings, metrics, events, examples."""

import ast
import json
import re
import shlex
from pathlib import Path

import pytest
import yaml
from typer.main import get_command

from supervisor.cli import app
from supervisor.configuration import load, variable_of
from supervisor.observe.gateway import GatewayMetrics
from supervisor.observe.metrics import BURIED, PASSED, Metrics
from supervisor.observe.records import RecordsMetrics
from supervisor.settings import Settings
from supervisor.snapshot import Snapshots
from supervisor.standing import Standing
from supervisor.streams import dead_letters, messages
from supervisor.streams.keys import Keys
from supervisor.streams.wire import Entry, Request, parse
from worker.plugins import Manifest, check_settings, discover
from worker.policies import CAUSES

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = {
    str(path.relative_to(ROOT)): path.read_text("utf-8")
    for path in sorted([*ROOT.glob("*.md"), *DOCS.rglob("*.md")])
}
DELIVERY = PAGES["docs/delivery.md"]
WIRE = PAGES["docs/wire.md"]
ARCHITECTURE = PAGES["docs/architecture.md"]
FENCE = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
# Read by others than Settings: by configuration.py, the zygote, deploy/redis/start.sh, us.
OTHER_VARIABLES = {
    "CREWPOOL_CONFIG",
    "CREWPOOL_OFFLINE_MODEL_URL",
    "CREWPOOL_REDIS_PASSWORD",
}
every_page = pytest.mark.parametrize("page", PAGES)


def fences(page, language):
    """The examples in one language."""
    return [body for told, body in FENCE.findall(PAGES[page]) if told == language]


def shell_lines(page):
    """The lines of shell examples, with those that go on below put together."""
    for body in fences(page, "sh"):
        yield from body.replace("\\\n", " ").splitlines()


def spans(text):
    """Code in the middle of a text."""
    return re.findall(r"`([^`\n]+)`", FENCE.sub("", text))


def section(text, heading):
    """What stands under a heading, up to the next one."""
    return re.split(r"^## ", text.partition(f"\n## {heading}\n")[2], flags=re.MULTILINE)[0]


def rows(text):
    """The cells of each row of the tables in a text."""
    lines = re.findall(r"^\|(.+)\|$", text, re.MULTILINE)
    return [[cell.strip() for cell in line.split(" | ")] for line in lines]


def resolved(words):
    """Return the command that these words name, and the words that are left for it."""
    command, context = get_command(app.app), None
    while hasattr(command, "resolve_command") and words and not words[0].startswith("-"):
        context = context or command.make_context("crewpool", [words[0]], resilient_parsing=True)
        _, command, words = command.resolve_command(context, words)
        assert command is not None, words
    return command, words


def test_the_documents_were_found():
    assert {"README.md", "docs/plugins.md", "docs/delivery.md"} <= PAGES.keys()


# ---- commands


@every_page
def test_every_command_line_that_is_shown_would_be_taken(page):
    for line in shell_lines(page):
        words = shlex.split(line, comments=True)
        if words and words[0] == "crewpool":
            command, rest = resolved(words[1:])
            # Raises for an option or a value that it does not know.
            command.make_context(words[-1], list(rest))


@every_page
def test_every_command_that_is_named_exists_with_its_options(page):
    for span in spans(PAGES[page]):
        words = shlex.split(span, posix=False)
        if words[0] == "crewpool":
            command, rest = resolved(words[1:])
            known = {"--help", "--version"} | {o for p in command.params for o in p.opts}
            assert {word.partition("=")[0] for word in rest if word[:2] == "--"} <= known, span


@every_page
def test_every_make_target_that_is_shown_exists(page):
    makefile = (ROOT / "Makefile").read_text("utf-8")

    for target in re.findall(r"(?:^|`)make ([a-z-]+)", PAGES[page], re.MULTILINE):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target


# ---- settings


@every_page
def test_every_variable_that_is_named_is_a_setting(page):
    known = {variable_of(field) for field in Settings.model_fields} | OTHER_VARIABLES
    named = set(re.findall(r"\bCREWPOOL_[A-Z_]*[A-Z]\b", PAGES[page]))

    assert named - known == set()


@every_page
def test_the_defaults_that_are_shown_are_the_defaults(page, monkeypatch):
    for name in ("REDIS_URL", "PLUGIN_DIR", "CREW_TIMEOUT_SECONDS"):
        monkeypatch.delenv(name, raising=False)
    defaults = {variable_of(name): field.default for name, field in Settings.model_fields.items()}

    for names, values in (cells[:2] for cells in rows(PAGES[page]) if len(cells) > 1):
        if re.fullmatch(r"(`[A-Z_]+`(, )?)+", names) and re.fullmatch(r"(`[^`]+`(, )?)+", values):
            for name, value in zip(spans(names), spans(values), strict=True):
                default = defaults[name]
                secret = getattr(default, "get_secret_value", None)
                assert value == str(secret() if secret else default), name


@pytest.mark.parametrize("page", ["docs/delivery.md", "docs/plugins.md"])
def test_the_retries_that_are_shown_are_those_of_the_settings(page, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    settings = load()
    shown = {}
    for cells in rows(PAGES[page]):
        if cells[0].strip("`") in CAUSES and cells[-2].isdigit():
            wait_s = float(cells[-1].removesuffix(" s")) if cells[-1] else None
            shown[cells[0].strip("`")] = (int(cells[-2]), wait_s)

    assert shown.keys() == set(CAUSES)
    for cause, (starts, wait_s) in shown.items():
        retry = settings.retry_of(cause)
        assert starts == retry.attempts
        assert wait_s == (retry.backoff_s if starts > 1 else None), cause


# ---- examples


@every_page
def test_every_example_of_a_plugin_yaml_is_one(page):
    for body in fences(page, "yaml"):
        Manifest.model_validate(yaml.safe_load(body))


@every_page
def test_every_example_of_a_crewpool_toml_is_one(page, monkeypatch, tmp_path):
    for number, body in enumerate(fences(page, "toml")):
        file = tmp_path / f"{number}.toml"
        file.write_text(body, "utf-8")
        monkeypatch.setenv("CREWPOOL_CONFIG", str(file))

        assert load()


@every_page
def test_every_example_of_json_is_json(page):
    for body in fences(page, "json"):
        assert json.loads(body)


@every_page
def test_every_entry_that_is_added_by_hand_is_understood(page):
    for line in shell_lines(page):
        words = shlex.split(line, comments=True)
        if words[:2] != ["redis-cli", "XADD"]:
            continue
        pairs = words[words.index("*") + 1 :]
        fields = dict(zip(pairs[::2], pairs[1::2], strict=True))
        if "kind" in fields:
            order = messages.parse("1-1", fields, Keys.of(load()))
            assert isinstance(order, messages.Order), order
        else:
            request = parse(Entry(words[2], "1-1", fields, len(fields["payload"])), 10**6)
            assert isinstance(request, Request), request
            assert check_settings(discover(ROOT / "plugins").find(request.plugin), request.settings)


def test_the_heartbeat_that_is_shown_has_the_keys_of_one():
    (shown,) = map(json.loads, fences("docs/delivery.md", "json"))
    taken = Snapshots("host").take(Standing(1, 1.0), {}, 0.0)

    # What heartbeat.py adds.
    assert list(shown) == [*taken, "server", "every_s", "at"]


# ---- the wire


def test_the_fields_and_reasons_of_dead_letters_are_told():
    told = rows(section(WIRE, "Dead letters"))
    names = {name for cells in told for name in spans(cells[0])}
    (reasons,) = (cells[1] for cells in told if cells[0] == "`reason`")
    (classes,) = (cells[1] for cells in told if cells[0] == "`class`")

    assert names == set(dead_letters.OURS)
    assert set(spans(classes)) == set(CAUSES) - {"cancelled"}
    assert set(spans(classes)) | set(spans(reasons)) - {"class"} == set(BURIED) | {"invalid"}


def test_the_fields_of_records_and_of_messages_are_those_in_the_code():
    places = [*(ROOT / "supervisor").glob("*.py"), *(ROOT / "supervisor/streams").rglob("*.*")]
    source = "".join(path.read_text("utf-8") for path in places if path.suffix in {".py", ".lua"})
    shown = {name for cells in rows(section(WIRE, "Where a run is")) for name in spans(cells[0])}
    for name in shown - {"attempt_1", "attempt_2"}:
        assert re.search(rf"\b{name}\b", source), name

    orders = section(PAGES["docs/control.md"], "Orders")
    told = {name for cells in rows(orders) for name in spans(cells[0])}

    assert set(messages.KINDS) <= told
    order = messages.Order("scale", 0, "i", "s", "r", 1, "because")
    assert set(order.fields()) <= told


def test_every_script_and_every_key_is_told():
    scripts = (ROOT / "supervisor" / "streams" / "scripts").glob("[a-z]*.lua")
    keys = Keys.of(load())
    names = {*keys.world, keys.hosts} - {*keys.request_streams, keys.messages_to_all}

    assert {path.name for path in scripts} - set(spans(ARCHITECTURE)) == set()
    assert names - set(spans(ARCHITECTURE)) == set()


# ---- metrics and events


# Of each program.
REGISTRIES = (Metrics, RecordsMetrics, GatewayMetrics)


def samples():
    """The names under which our metrics are scraped."""
    for metric in (m for of in REGISTRIES for m in of().registry.collect()):
        ends = {"counter": ("_total",), "histogram": ("", "_bucket", "_sum", "_count")}
        for end in ends.get(metric.type, ("",)):
            yield metric.name + end


@every_page
def test_every_metric_that_is_named_exists(page):
    named = set(re.findall(r"\bcrewpool_[a-z_]*[a-z]\b", PAGES[page]))

    assert named - set(samples()) == set()


def test_every_metric_is_told():
    told = re.findall(r"\bcrewpool_[a-z_]*[a-z]\b", section(DELIVERY, "Metrics"))
    names = {re.sub("_(bucket|sum|count)$", "", name) for name in samples()}

    assert names - set(told) == set()
    for kind in PASSED:
        assert f"`{kind}`" in section(DELIVERY, "Metrics")


def events():
    """The names of events in the calls of the log, wherever they stand."""
    for path in (ROOT / "supervisor").rglob("*.py"):
        for call in ast.walk(ast.parse(path.read_text("utf-8"))):
            is_log = isinstance(call, ast.Call) and re.search(
                r"\blog\.\w+$|^write$|\.(info|warning|error)$", ast.unparse(call.func)
            )
            first = call.args[0] if is_log and call.args else None
            if isinstance(first, ast.Constant) and isinstance(first.value, str):
                yield first.value
    yield from ("run_completed", "run_failed")
    yield from (f"run_{kind}" for kind in PASSED if kind != "lost")


def test_every_event_is_told_and_every_event_that_is_told_exists():
    told = {name for cells in rows(section(DELIVERY, "Log events")) for name in spans(cells[0])}

    assert told == set(events())
