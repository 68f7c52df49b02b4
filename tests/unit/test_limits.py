"""The limits of plugins, as take.lua gets them."""

import json

from supervisor.limits import limits_text
from worker.plugins import Catalogue
from worker.policies import Limits, Policies


class Plugin:
    """What limits.py sees of a plugin."""

    def __init__(self, **limits):
        self.manifest = Policies(limits=Limits(**limits))


def told(**plugins):
    catalogue = Catalogue()
    catalogue.plugins.update(plugins)
    return json.loads(limits_text(catalogue))


def test_without_limits_there_is_nothing_to_say():
    assert told() == {}
    assert told(free=Plugin()) == {}


def test_a_concurrency_is_one_number():
    assert told(slow=Plugin(max_concurrency=3)) == {"slow": {"c": 3}}


def test_a_rate_is_starts_in_milliseconds():
    assert told(rated=Plugin(rate="10/m")) == {"rated": {"n": 10, "p": 60_000}}
    assert told(rated=Plugin(rate="100/2.5s")) == {"rated": {"n": 100, "p": 2500}}


def test_both_stand_side_by_side_and_each_plugin_for_itself():
    assert told(a=Plugin(max_concurrency=1, rate="1/d"), b=Plugin(), c=Plugin(rate="5/s")) == {
        "a": {"c": 1, "n": 1, "p": 86_400_000},
        "c": {"n": 5, "p": 1000},
    }


def test_a_period_below_a_millisecond_is_not_a_period_of_nothing():
    assert told(quick=Plugin(rate={"starts": 1, "period_s": 0.0001}))["quick"]["p"] == 1


def test_the_longest_period_is_a_whole_number_for_lua_too():
    most = told(most=Plugin(max_concurrency=100_000, rate="1000/100d"))

    assert most == {"most": {"c": 100_000, "n": 1000, "p": 8_640_000_000}}
