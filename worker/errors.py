"""The errors that worker and supervisor have in common.

Each carries its facts as attributes and makes its own sentence: what happened, to what,
and what to do next. Expected ends of a run (a crew raised, a lease was lost) are values,
not exceptions.
"""


class CrewpoolError(Exception):
    """Something crewpool can name. The message is fit for an operator's eyes."""


class PluginNotFound(CrewpoolError):  # noqa: N818  # named for what happened, see CONTRIBUTING
    """No plugin of that name stands in the plugin folder."""

    def __init__(self, name: str, known: list[str]) -> None:
        self.name = name
        self.known = known
        have = ", ".join(known) if known else "none"
        super().__init__(f"Unknown plugin {name[:80]!r} (known here: {have})")


class PluginBroken(CrewpoolError):  # noqa: N818  # named for what happened
    """A plugin's files cannot be used as they are."""

    def __init__(self, name: str, reason: str) -> None:
        self.name = name
        self.reason = reason
        super().__init__(f"Plugin {name[:80]!r} cannot be used: {reason}")


class SettingsInvalid(CrewpoolError):  # noqa: N818  # named for what happened
    """The settings of a run do not fit the plugin's settings.schema.json."""

    def __init__(self, plugin: str, problems: list[str]) -> None:
        self.plugin = plugin
        self.problems = problems
        super().__init__(f"Settings do not fit plugin {plugin!r}: " + "; ".join(problems))


class LimitTooLow(CrewpoolError):  # noqa: N818  # named for what happened
    """A limit of the settings is below what a fresh worker has already."""

    def __init__(self, name: str, limit_bytes: int, has_bytes: int) -> None:
        self.name = name
        self.limit_bytes = limit_bytes
        self.has_bytes = has_bytes
        mb = -(-has_bytes // 2**20)
        super().__init__(
            f"CREWPOOL_WORKER_{name}_BYTES ({limit_bytes}) is too low: a worker that has run "
            f"nothing yet has {mb} MB; give it that, and what a crew needs beside it"
        )


class FrameInvalid(CrewpoolError):  # noqa: N818  # named for what happened
    """The other end of a socket sent something that is no frame of ours."""

    def __init__(self, reason: str) -> None:
        self.reason = reason
        super().__init__(f"Broken frame on the worker's socket: {reason}")
