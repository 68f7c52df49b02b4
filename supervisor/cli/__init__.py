"""The command line: `crewpool run`, `up`, `submit`, `workers`, `plugins`, `config`, `doctor`,
`health` and `demo`. One file a command group; only render.py prints.

Each command's module is imported when that command is called, so that `--help` and the
health check of a container stay fast. Everything that touches Redis goes through
supervisor/streams.
"""

from supervisor.cli.app import main

__all__ = ["main"]
