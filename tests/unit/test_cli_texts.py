"""What the command line says, and what it must not load to say it."""

import doctest
import importlib
import re
import subprocess
import sys
from pathlib import Path

import pytest
from typer.main import get_command

from supervisor.cli import app, outputs, render, wording
from supervisor.cli import request as requests
from supervisor.cli.demo_runs import DIGEST, OVERRUNS_FILES, all_runs
from supervisor.streams.keys import Keys
from supervisor.streams.permissions import harmless
from supervisor.streams.wire import Entry, Rejected, entry_fields, parse
from worker.plugins import load

ROOT = Path(__file__).parents[2]
LONG = {
    "state": "running",
    "attempt": "2",
    "tasks": "3",
    "task": "1",
    "agent": "Writer",
    "tool": "search",
    "tokens": "1234",
    "timeout_s": "300.0",
    "started_at": "100",
    "ended_at": "112.5",
}
CLI = ROOT / "supervisor" / "cli"


@pytest.mark.parametrize("module", [render, wording, requests], ids=lambda m: m.__name__)
def test_the_examples_in_docstrings_are_true(module):
    assert doctest.testmod(module).failed == 0


def test_only_render_prints():
    # typer's own help and errors apart, no other file touches a stream.
    printing = re.compile(r"\bprint\(|sys\.std(out|err)\b|Console\(|typer\.echo")

    others = [path.name for path in CLI.glob("*.py") if printing.search(path.read_text("utf-8"))]

    # app.py gives the descriptor of stdout away when its reader has left.
    assert sorted(others) == ["app.py", "render.py"]


def test_help_and_version_load_nothing_heavy():
    heavy = ("redis", "aiohttp", "psutil", "prometheus_client", "pydantic_settings", "crewai")
    code = (
        "import sys\nfrom supervisor.cli.app import main\n"
        "try:\n    main(['--help'])\nexcept SystemExit:\n    pass\n"
        f"print([name for name in {heavy!r} if name in sys.modules])"
    )

    said = subprocess.run(
        [sys.executable, "-P", "-c", code], capture_output=True, text=True, check=True
    )

    assert said.stdout.splitlines()[-1] == "[]"


def test_every_command_has_a_module_and_a_help_line_that_is_not_cut():
    for name, told in app.COMMANDS.items():
        assert (CLI / f"{name}.py").is_file()
        assert len(told) <= 80 - 2 - max(map(len, app.COMMANDS)) - 6


@pytest.mark.parametrize(
    ("facts", "line"),
    [
        ({}, "pending"),
        ({"state": "running"}, "running · 0s"),
        ({"state": "running", "tasks": "3", "task": "0"}, "running · 3 tasks · 0s"),
        (
            LONG,
            "running · attempt 2 · task 1/3 Writer (search) · 1,234 tokens · 12s of 300s",
        ),
        (
            {"state": "pending", "attempt": "1", "handed_back_because": "drain"},
            "pending · handed back: drain",
        ),
        ({"state": "running", "tokens": "rubbish"}, "running · 0s"),
    ],
)
def test_a_record_is_told_in_one_line(facts, line):
    assert wording.line(facts) == line


@pytest.mark.parametrize("receipt", [None, "x", {}, {"cpu_user_s": "x", "max_rss_bytes": []}])
def test_a_receipt_that_is_none_does_not_spoil_the_closing_line(receipt):
    result = {"status": "completed", "meta": {"duration_s": 1, "receipt": receipt}}

    assert outputs.closing_line(result).startswith("completed · 1.0s")


def test_the_closing_line_tells_what_a_run_used():
    used = {"cpu_user_s": 1.25, "cpu_system_s": 0.5, "max_rss_bytes": 300 << 20}
    result = {"status": "completed", "meta": {"receipt": used, "worker": "h.s0"}}

    assert outputs.closing_line(result) == "completed · 1.8s CPU · 300 MB · h.s0"


def test_nothing_that_steers_a_terminal_is_printed():
    assert render.clean("a\x1b[2Jb\x07\x9bc\r\nd\te\x00\x7f\ud800") == "a[2Jbc\nd\te?"


def test_every_command_of_the_scripts_is_among_the_ones_the_doctor_tries():
    keys = Keys("plugin:requests", "plugin:results", "plugin:dlq", "g", "go")
    tried = {" ".join(map(str, words[:2])) for words in harmless(keys)}
    names = {text.split()[0] for text in tried}
    scripts = (ROOT / "supervisor" / "streams" / "scripts").glob("*.lua")
    text = "\n".join(path.read_text("utf-8") for path in scripts)
    used = re.findall(r"redis\.p?call\('(\w+)'(?:, '([A-Z]+)')?", text)

    assert used
    assert {name for name, _ in used} <= names
    for name, sub in used:
        if name in ("XINFO", "XGROUP"):
            assert f"{name} {sub}" in tried


def test_the_demos_own_plugin_is_one(tmp_path):
    for name, text in OVERRUNS_FILES.items():
        file = tmp_path / "overruns" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, "utf-8")

    plugin = load(tmp_path / "overruns")

    assert plugin.manifest.timeout_s == 3
    compile(plugin.crew_file.read_text("utf-8"), "crew.py", "exec")


def test_each_run_of_the_demo_says_how_it_must_end_before_it_has():
    runs = all_runs()

    assert len({run.run_id for run in runs}) == len(runs)
    for run in runs:
        assert run.problem() == f"{run.run_id} has no result"
        parsed = parse(Entry("", "", entry_fields(run.payload), len(run.payload)), 10**6)
        assert isinstance(parsed, Rejected) == (run.run_id == "not-json")
        assert parsed.run_id == run.run_id
    assert sum(run.plugin == DIGEST and run.status == "completed" for run in runs) == 4


def test_a_second_or_an_unexpected_result_is_a_problem_of_the_demo():
    run = all_runs()[1]
    good = {"status": "failed", "error": "Workflow exceeded 3s timeout"}

    run.results = [good]
    assert run.problem() == ""
    run.results = [good, good]
    assert run.problem() == "overruns has 2 results"
    run.results = [{"status": "completed", "error": ""}]
    assert "ended as completed" in run.problem()


def helps(command, above=None):
    context = command.context_class(command, parent=above)
    yield command.get_help(context)
    for below in getattr(command, "commands", {}).values():
        yield from helps(below, context)


def test_no_heading_in_a_help_text_ran_together_with_what_is_before_it():
    modules = [importlib.import_module(f"supervisor.cli.{name}") for name in app.COMMANDS]
    texts = [text for module in modules for text in helps(get_command(module.app))]

    assert len(texts) > 2 * len(app.COMMANDS)
    # The sign that lines stay as they are stands at the head of a paragraph, or counts for none.
    assert not [text for text in texts if re.search(r"\x08.*\S", text)]
