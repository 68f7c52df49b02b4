"""New code of plugins, as operators and authors bring it: `ctl reload`, and the watch of `up`."""

import json
import re

from tests.support.plugins import write_crew, write_plugin
from tests.support.waiting import wait_until


def test_the_reply_to_a_reload_says_how_it_ended(
    crewpool, start_supervisor, redis_server, world, tmp_path
):
    plugins = write_crew(tmp_path / "plugins", "says", 'return "old"')
    start_supervisor(plugin_dir=plugins).wait_idle()
    wait_until(lambda: world.client.zcard("crewpool:hosts") == 1)
    url = redis_server.url

    nothing = crewpool("ctl", "reload", "--all", REDIS_URL=url)
    write_plugin(plugins, "says", "raise OSError('not this one')")
    refused = crewpool("ctl", "reload", "--all", "--json", REDIS_URL=url)
    wait_until(lambda: "reload failed" in crewpool("workers", REDIS_URL=url).stdout)
    write_crew(plugins, "says", 'return "new"')
    done = crewpool("ctl", "reload", "--all", REDIS_URL=url)

    assert (nothing.returncode, refused.returncode, done.returncode) == (0, 1, 0)
    assert "reloaded, changed: nothing" in nothing.stdout
    (reply,) = json.loads(refused.stdout)
    assert reply["text"] == ("the old code stays: says: its import failed: OSError: not this one")
    assert "reloaded, changed: says" in done.stdout


def test_up_loads_what_changes_unless_told_otherwise(crewpool, tmp_path):
    plugins = write_crew(tmp_path / "plugins", "says", 'return "old"')
    named = {"REDIS_URL": None, "PLUGIN_DIR": plugins, "OPENAI_API_KEY": "sk-not-used-here"}
    up = crewpool.start("up", "--redis-port", 0, **named)
    deaf = crewpool.start("up", "--redis-port", 0, CREWPOOL_WATCH_PLUGINS="false", **named)
    up.wait_for("zygote_ready")
    deaf.wait_for("zygote_ready")
    url = re.search(r"Redis +(redis://127\.0\.0\.1:\d+/0)", up.err)[1]

    write_crew(plugins, "says", 'return "new"')
    up.wait_for("reloaded changed=says")
    submitted = crewpool("submit", "says", "--wait", REDIS_URL=url)

    assert "Their files are watched" in up.err
    assert "new" in submitted.stdout
    assert "Their files are watched" not in deaf.err
    assert "plugins_changed" not in deaf.err
