"""The parent: takes runs from Redis, keeps N workers, kills what overruns, publishes results.

The only part of crewpool that talks to Redis, and one that never imports crewai or a
plugin's code (promise P5). The distribution *supervisor* on PyPI installs a package of the
same name (trap E8): use a virtual environment of its own.
"""

from importlib.metadata import PackageNotFoundError, version

try:
    __version__ = version("crewpool")
except PackageNotFoundError:  # run from a tree that was never installed
    __version__ = "0+unknown"
