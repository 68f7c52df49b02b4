"""The healthy drill: Markdown out, one line on each of stdout and stderr."""

import json
import os
import sys


class Echoes:
    def __init__(self, settings):
        self.text = settings.get("text", "hello")

    def kickoff(self, inputs):
        print(f"echoes on stdout: {self.text}", flush=True)
        print(f"echoes on stderr: {self.text}", file=sys.stderr, flush=True)
        shown = json.dumps(inputs, sort_keys=True)
        return f"# Echo\n\n{self.text}\n\n## Inputs\n\n{shown}\n\n## Process\n\npid={os.getpid()}\n"


def create_crew(settings):
    return Echoes(settings)
