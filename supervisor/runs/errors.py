"""What can go wrong with run records. Each says whether a retry can help.

No password is ever in their sentences.
"""

from supervisor.addresses import without_password
from worker.errors import CrewpoolError


class RecordsNotInstalled(CrewpoolError):  # noqa: N818  # named for what happened
    """The packages that run records need are not there. A retry cannot help."""

    is_of_settings = True
    is_retryable = False
    next_step = "pip install 'crewpool[records]'"

    def __init__(self, missing: str) -> None:
        self.missing = missing
        super().__init__(f"Run records need the extra `records` ({missing} is not installed)")


class RecordsNotConfigured(CrewpoolError):  # noqa: N818  # named for what happened
    """Nothing says where run records are kept. A retry cannot help."""

    is_of_settings = True
    is_retryable = False
    next_step = (
        "CREWPOOL_RECORDS_URL=sqlite:///runs.db, the URL of a PostgreSQL, or the one that "
        "crewpool up --records tells"
    )

    def __init__(self) -> None:
        super().__init__("No database is named that run records are kept in")


class RecordsMisconfigured(CrewpoolError):  # noqa: N818  # named for what happened
    """The URL is none of a database that we know. A retry cannot help."""

    is_of_settings = True
    is_retryable = False
    next_step = "mend CREWPOOL_RECORDS_URL"

    def __init__(self, url: str, problem: str) -> None:
        super().__init__(f"{without_password(url)[:200]!r} is no address of records: {problem}")


class RecordsAway(CrewpoolError):  # noqa: N818  # named for what happened
    """The database did not answer, or not in time. Everything is safe to do again."""

    is_retryable = True
    next_step = "look at the database, and do it again"

    def __init__(self, address: str, cause: str) -> None:
        self.address = address
        self.cause = cause
        super().__init__(f"The run records at {address} are not reachable: {cause}")


class RecordsOutdated(CrewpoolError):  # noqa: N818  # named for what happened
    """The tables are those of another version. A retry helps after they were upgraded."""

    is_retryable = False

    def __init__(self, address: str, found: str, needed: str, *, is_ahead: bool) -> None:
        self.found = found
        self.needed = needed
        self.next_step = "install a newer crewpool" if is_ahead else "crewpool db upgrade"
        told = f"at {found}, and this crewpool " if found else "empty, and crewpool "
        told += f"knows no later than {needed}" if is_ahead else f"needs {needed}"
        super().__init__(f"The tables of the run records at {address} are {told}")


class CursorInvalid(CrewpoolError):  # noqa: N818  # named for what happened
    """The cursor is none that a page gave. A retry cannot help."""

    is_retryable = False
    next_step = "begin without a cursor"

    def __init__(self, cursor: str) -> None:
        super().__init__(f"{cursor[:40]!r} is no cursor of a page of runs")


class RunIdTaken(CrewpoolError):  # noqa: N818  # named for what happened
    """Another run has this id already. A retry cannot help."""

    is_retryable = False
    next_step = "give each run an id of its own"

    def __init__(self, run_id: str) -> None:
        self.run_id = run_id
        super().__init__(
            f"Run {run_id!r} was not recorded: the id is that of a run with another plugin, user "
            "or settings"
        )


class OutboxKeyMissing(CrewpoolError):  # noqa: N818  # named for what happened
    """Credentials would stand in the database as they are. A retry cannot help."""

    is_retryable = False
    next_step = "name a file in CREWPOOL_OUTBOX_KEY_FILE (crewpool db key makes one)"

    def __init__(self, run_id: str) -> None:
        self.run_id = run_id
        super().__init__(
            f"Run {run_id!r} was not recorded: it has credentials, and there is no key to seal "
            "them with until it is published"
        )


class OutboxKeyThere(CrewpoolError):  # noqa: N818  # named for what happened
    """There is a file already, and maybe runs that only its key opens."""

    is_retryable = False
    next_step = "use it, or name another file"

    def __init__(self, path: str) -> None:
        super().__init__(f"{path} is there already, and was left as it is")


class OutboxKeyUnfit(CrewpoolError):  # noqa: N818  # named for what happened
    """The file with the key cannot be used, or its key is another one. Its content is not told."""

    is_retryable = False
    next_step = (
        "put the key back that was in CREWPOOL_OUTBOX_KEY_FILE, or cancel what it has sealed "
        "(crewpool runs list --state waiting)"
    )

    def __init__(self, where: str, problem: str) -> None:
        super().__init__(f"The key of the outbox, {where}, cannot be used: {problem}")
