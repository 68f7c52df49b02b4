"""What crews print: lines with their run, within bounds, without credentials."""

import json
import re

from tests.support.linux import cpu_s
from tests.support.plugins import write_crew
from tests.support.redis_world import REQUESTS
from tests.support.waiting import wait_until

SECRET = "sk-0123456789abcdefghijklmnop"


def test_both_streams_become_lines_with_the_run_and_the_slot(supervisor, world):
    runs = [world.publish(settings={"text": f"text of {n}"}) for n in range(4)]
    wait_until(lambda: world.have_results(runs))

    for n, run in enumerate(runs):
        assert sorted(supervisor.said(run)) == [
            f"echoes on stderr: text of {n}",
            f"echoes on stdout: text of {n}",
        ]
    assert {line["slot"] for line in supervisor.log_lines("crew_said")} <= {"0", "1"}


def test_the_last_words_before_the_end_belong_to_their_run(start_supervisor, world, tmp_path):
    plugins = write_crew(
        tmp_path,
        "talks",
        "for n in range(100): print(settings['run'], n, end='\\n' if n < 99 else '')\nreturn 'x'",
    )
    supervisor = start_supervisor(plugin_dir=plugins, CREWPOOL_WORKERS=1)
    runs = [world.publish(f"r-{n}", "talks", {"run": f"r-{n}"}) for n in range(5)]
    wait_until(lambda: world.have_results(runs))
    assert supervisor.stop() == 0

    said = supervisor.log_lines("crew_said")
    assert len(said) == 500
    assert all(line["line"].startswith(line["run"] + " ") for line in said)


def test_a_flood_is_dropped_and_counted_and_delays_nobody(supervisor, world):
    flood = world.publish(plugin="prints", settings={"lines": 200_000, "length": 200})
    wait_until(lambda: supervisor.log_lines("run_started", run=flood))
    others = [world.publish() for _ in range(5)]

    wait_until(lambda: world.have_results(others), 5)

    assert supervisor.liveness()[0] == 200
    wait_until(lambda: supervisor.log_lines("crew_lines_dropped"))
    before = cpu_s(supervisor.pid)
    wait_until(lambda: supervisor.metric("crewpool_workers", state="busy") in (0, 1))
    assert cpu_s(supervisor.pid) - before < 1
    assert supervisor.log_file.stat().st_size < 2_000_000


def test_a_crew_that_floods_is_killed_on_time(start_supervisor, world, tmp_path):
    plugins = write_crew(
        tmp_path, "pours", "while True: os.write(1, b'x' * 60_000)", manifest="timeout_s: 1"
    )
    supervisor = start_supervisor(plugin_dir=plugins)
    run = world.publish(plugin="pours")

    result = wait_until(lambda: world.result(run), 5)

    assert result["error"] == "Workflow exceeded 1s timeout"
    assert supervisor.log_file.stat().st_size < 2_000_000


def test_what_is_no_text_and_what_is_long_is_shown_as_far_as_it_goes(supervisor, world):
    run = world.publish(plugin="prints", settings={"lines": 1, "length": 9000, "non_utf8": True})
    wait_until(lambda: world.result(run))

    long, odd = wait_until(lambda: (s := supervisor.said(run))[1:] and s)

    assert 1000 < len(long) <= 2000
    assert odd == "not UTF-8: \ufffd\ufffd\ufffd end"


def test_a_crew_cannot_forge_a_line(start_supervisor, world, tmp_path):
    forged = "2026-01-01T00:00:00.000Z ERROR gave_up reason=forged"
    plugins = write_crew(tmp_path, "forges", "print(settings['text']); return 'x'")
    supervisor = start_supervisor(plugin_dir=plugins)
    text = f'a\r{forged}\u2028{forged}\x1b[2J\x00" run=another'
    run = world.publish(plugin="forges", settings={"text": text})

    wait_until(lambda: supervisor.said(run))

    assert supervisor.log_lines("gave_up") == []
    for line in supervisor.log().splitlines():
        assert re.match(r"\d{4}-\d\d-\d\dT\S+Z [A-Z]+ +[a-z_]+", line)
    assert not [c for c in supervisor.log() if c != "\n" and (ord(c) < 32 or ord(c) == 127)]


def test_a_run_id_cannot_forge_a_line_either(supervisor, world):
    run = world.publish('r-1" ERROR gave_up reason="forged\u2028x \u202e')

    wait_until(lambda: world.result(run))

    assert supervisor.log_lines("run_started", run=run)
    assert supervisor.log_lines("gave_up") == []


def test_credentials_are_nowhere(start_supervisor, world, tmp_path):
    """Printed, raised, returned, put into titles by the crew: every way out is masked."""
    environment = "sk-of-the-environment-123456"
    plugins = write_crew(
        tmp_path / "plugins",
        "leaks",
        """
        keys = [settings["_llm_api_key"], settings["_more"]["deep"][0]]
        keys.append(os.environ["OPENAI_API_KEY"])
        for key in keys:
            print("stdout", key, json.dumps(key))
            print("stderr", key, file=sys.stderr)
            print("x" * 1990 + key)
            os.write(1, b"y" * 9000 + key.encode() + b"\\n")
        if settings["end"] == "raise":
            raise ValueError("failed with " + " ".join(keys))
        if settings["end"] == "exit":
            os._exit(1)
        return {"keys": keys, keys[0]: "as a key", "text": f"before {keys[1]} after"}
        """,
    )
    supervisor = start_supervisor(
        plugin_dir=plugins, OPENAI_API_KEY=environment, CREWPOOL_MAX_ATTEMPTS=1
    )
    secrets = {"_llm_api_key": SECRET, "_more": {"deep": ["deep-secret-0123456789"]}}
    runs = [
        world.publish(plugin="leaks", settings={"end": end, **secrets})
        for end in ("return", "raise", "exit")
    ]
    runs += [world.publish(plugin="nobody", settings=secrets)]

    wait_until(lambda: world.have_results(runs))
    assert supervisor.stop() == 0

    shown = supervisor.log() + world.everything_but(REQUESTS)
    for secret in (SECRET, "deep-secret-0123456789", environment):
        assert secret not in shown
        # Nor its head or tail, where a line was cut.
        assert secret[:12] not in shown
        assert secret[-12:] not in shown
    assert "before *** after" in world.result(runs[0])["output"]
    assert json.loads(world.result(runs[0])["output"])["keys"] == ["***"] * 3


def test_the_password_of_redis_is_nowhere(start_supervisor, own_server):
    own_server.client.config_set("requirepass", "s3cr3t-of-redis")
    url = own_server.url.replace("redis://", "redis://:s3cr3t-of-redis@")
    supervisor = start_supervisor(url).wait_idle()
    own_server.stop()
    wait_until(lambda: supervisor.log_lines("redis_away"))
    status, body = supervisor.readiness()

    assert status == 503
    titles = " ".join(supervisor.titles())
    shown = supervisor.log() + json.dumps(body) + titles + supervisor.get("/metrics")[1]
    assert "s3cr3t" not in shown


def test_a_wrong_password_is_told_without_showing_it(start_supervisor, own_server):
    url = own_server.url.replace("redis://", "redis://nobody:s3cr3t-of-redis@")
    supervisor = start_supervisor(url, wait=False)

    (told, *_) = wait_until(lambda: supervisor.log_lines("redis_away"))

    assert "WRONGPASS" in told.raw or "Authentication" in told.raw or "password" in told.raw
    assert "s3cr3t" not in supervisor.log()


def test_the_start_tells_what_a_stranger_needs(supervisor):
    (told,) = supervisor.log_lines("started")

    assert told["pid"] == str(supervisor.pid)
    assert told["workers"] == "2"
    assert "echoes" in told["plugins"]
    assert re.fullmatch(r"127\.0\.0\.1:\d+", told["http"])


def test_a_failed_run_shows_its_stack_in_the_log_and_not_in_the_result(supervisor, world):
    run = world.publish(plugin="raises", settings={"text": "the drill failed"})

    result = wait_until(lambda: world.result(run))

    assert result["error"].endswith("DrillError: the drill failed")
    assert "Traceback" not in json.dumps(result)
    (stack,) = wait_until(lambda: supervisor.log_lines("run_stack", run=run))
    assert "in kickoff" in stack["stack"]
