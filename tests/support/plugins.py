"""Writes small plugins for one test each. What several tests need stands in tests/plugins."""

import json
from textwrap import dedent

ANYTHING = {"type": "object"}


def write_plugin(folder, name, code, *, schema=ANYTHING, manifest=""):
    """Write a plugin whose crew.py holds this code; return the folder of plugins."""
    crew = folder / name / "crew"
    crew.mkdir(parents=True, exist_ok=True)
    (crew.parent / "plugin.yaml").write_text(f"name: {name}\n{manifest}", "utf-8")
    (crew.parent / "settings.schema.json").write_text(json.dumps(schema), "utf-8")
    (crew / "crew.py").write_text(dedent(code), "utf-8")
    return folder


def write_crew(folder, name, kickoff, **more):
    """Write a plugin whose crew does this in kickoff(); `settings` and `inputs` are at hand."""
    body = dedent(kickoff).strip().replace("\n", "\n        ")
    code = f"""\
import json, os, signal, socket, subprocess, sys, threading, time


class Drill:
    def __init__(self, settings):
        self.settings = settings

    def kickoff(self, inputs):
        settings = self.settings
        {body}


def create_crew(settings):
    return Drill(settings)
"""
    return write_plugin(folder, name, code, **more)
