"""An application that asks for so many runs, says of each what became of it, and lives on.

Its runs are numbered in their settings; the credentials in them are for whoever looks for them.
"""

import json
import signal
import sys

from supervisor.runs.dispatch import Dispatcher, Options

with Dispatcher.of() as dispatcher:
    for number in range(int(sys.argv[1])):
        settings = {"text": str(number), "_llm_api_key": "sk-secret-of-a-user"}
        told = dispatcher.execute_plugin("echoes", 7, settings, Options(retries=0))
        print(json.dumps([told.what, told.run_id]), flush=True)  # noqa: T201  # its answer
    signal.pause()
