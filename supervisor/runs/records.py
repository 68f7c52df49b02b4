"""Opens the run records that the settings name. Importable without the extra `records`."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from supervisor.runs.errors import RecordsMisconfigured, RecordsNotConfigured, RecordsNotInstalled
from supervisor.settings import Settings

if TYPE_CHECKING:
    from supervisor.runs.schedules import Schedules
    from supervisor.runs.sealing import Sealer
    from supervisor.runs.store import RunStore

_SQLITE = "sqlite:///"


def open_store(settings: Settings) -> "RunStore":
    """Return the store that the settings name.

    Nothing is connected yet. Raises RecordsNotConfigured, RecordsNotInstalled,
    RecordsMisconfigured.
    """
    url = settings.records_url.get_secret_value()
    if not url:
        raise RecordsNotConfigured
    try:
        from supervisor.runs.store import RunStore  # noqa: PLC0415  # an extra

        return RunStore(url)
    except ModuleNotFoundError as error:
        raise RecordsNotInstalled(str(error.name)) from None


def open_sealer(settings: Settings) -> "Sealer | None":
    """Return what seals credentials; None without a key.

    Beside a SQLite file the key is made by itself. Raises RecordsNotInstalled, OutboxKeyUnfit.
    """
    try:
        from supervisor.runs.sealing import Sealer  # noqa: PLC0415  # an extra
    except ModuleNotFoundError as error:
        raise RecordsNotInstalled(str(error.name)) from None
    if settings.outbox_key_file is not None:
        return Sealer(settings.outbox_key_file)
    url = settings.records_url.get_secret_value()
    if not url.startswith(_SQLITE):
        return None
    path = Path(url.removeprefix(_SQLITE).partition("?")[0])
    if not path.name:
        raise RecordsMisconfigured(url, "it names no file")
    return Sealer.of(path.with_name(f"{path.name}.key"))


def open_schedules(settings: Settings, store: "RunStore") -> "Schedules":
    """Return the schedules beside the records. Raises as `open_sealer`."""
    try:
        from supervisor.runs.schedules import Schedules  # noqa: PLC0415  # an extra
    except ModuleNotFoundError as error:
        raise RecordsNotInstalled(str(error.name)) from None
    return Schedules(store, open_sealer(settings), settings.max_payload_bytes)


def key_maker() -> Callable[[Path], None]:
    """Return what makes the file of a key, see sealing.py. Raises RecordsNotInstalled."""
    try:
        from supervisor.runs.sealing import make_key  # noqa: PLC0415  # an extra
    except ModuleNotFoundError as error:
        raise RecordsNotInstalled(str(error.name)) from None
    return make_key
