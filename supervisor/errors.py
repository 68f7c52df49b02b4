"""What can go wrong on the supervisor's side, and the exit codes that say it.

Each error carries its facts and makes its own sentence: what happened, to which run, what
to do next.
"""

from enum import IntEnum

from worker.errors import CrewpoolError


class Exit(IntEnum):
    """Exit codes of `crewpool run` and `crewpool up`; --help shows them."""

    CLEAN = 0
    BAD_SETTINGS = 2
    CANNOT_BOOT = 3
    DRAIN_RAN_OUT = 4
    BUG = 70


class SettingsWrong(CrewpoolError):  # noqa: N818  # named for what happened
    """One or more settings cannot be used. All problems are told at once."""

    def __init__(self, problems: list[str]) -> None:
        self.problems = problems
        lines = "\n".join(f"  - {problem}" for problem in problems)
        super().__init__(f"{len(problems)} setting(s) cannot be used:\n{lines}")


class UserUnknown(CrewpoolError):  # noqa: N818  # named for what happened
    """The user that workers are to run as does not exist."""

    def __init__(self, user: str) -> None:
        self.user = user
        super().__init__(f"There is no user {user!r} on this machine")


class SecretUnreadable(CrewpoolError):  # noqa: N818  # named for what happened
    """The file that holds a secret cannot be used. Its content is never told."""

    def __init__(self, variable: str, reason: str) -> None:
        self.variable = variable
        self.reason = reason
        super().__init__(f"The file that {variable} names cannot be read: {reason}")


class RedisTooOld(CrewpoolError):  # noqa: N818  # named for what happened
    """The server lacks what the scripts need (trap R16)."""

    def __init__(self, found: str, needed: str) -> None:
        self.found = found
        self.needed = needed
        super().__init__(f"Redis {found} is too old: crewpool needs {needed} or newer, or Valkey")


class RedisAway(CrewpoolError):  # noqa: N818  # named for what happened
    """Redis did not answer. Whether the command took effect is not known."""

    def __init__(self, where: str, cause: str) -> None:
        self.where = where
        self.cause = cause
        super().__init__(f"Redis at {where} is not reachable: {cause}")


class HostNameTaken(CrewpoolError):  # noqa: N818  # named for what happened
    """Two supervisors that live drew the same name while Redis was away."""

    def __init__(self, host: str, pid: object) -> None:
        self.host = host
        self.pid = pid
        super().__init__(
            f"Another supervisor (pid {pid}) is called {host}, and both would take each other's "
            "runs. Start this one again: it draws another name"
        )


class WorkersCannotBoot(CrewpoolError):  # noqa: N818  # named for what happened
    """Starting again would fail the same way."""

    def __init__(self, failures: int, reason: str) -> None:
        self.failures = failures
        self.reason = reason
        super().__init__(
            f"Workers cannot boot, gave up after {failures} failures in a row: {reason} "
            "(next: crewpool doctor)"
        )


class ServerFailed(CrewpoolError):  # noqa: N818  # named for what happened
    """A program of the embedded defaults did not start."""

    def __init__(self, program: str, reason: str) -> None:
        self.program = program
        self.reason = reason
        super().__init__(f"{program} did not start: {reason}")
