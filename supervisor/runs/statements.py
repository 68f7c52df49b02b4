"""The statements of the run records that several methods of store.py share. Pure."""

from sqlalchemy import Select, Update, select, update

from supervisor.runs.answers import RunFilter
from supervisor.runs.models import FAILED, OPEN, STATUSES, PluginRun

# Whether anything could not be published and waits, so that what is new goes behind it.
BACKLOG = (
    select(PluginRun.id)
    .where(PluginRun.payload.is_not(None), PluginRun.publish_failures > 0)
    .limit(1)
)


def of(run_id: str) -> Select[PluginRun]:
    """Return how to look for a run."""
    return select(PluginRun).where(PluginRun.plugin_run_id == run_id)


def waiting(*run_ids: str) -> Update:
    """Return how to change those of some runs that wait to be published."""
    return update(PluginRun).where(
        PluginRun.plugin_run_id.in_(run_ids),
        PluginRun.payload.is_not(None),
        PluginRun.status.in_(OPEN),
    )


def cancelled(*run_ids: str) -> Update:
    """Return how to change those of some runs whose cancel Redis has not heard of."""
    return update(PluginRun).where(
        PluginRun.plugin_run_id.in_(run_ids),
        PluginRun.payload.is_not(None),
        PluginRun.status == FAILED,
    )


def given_up(*run_ids: str) -> Select[str]:
    """Return how to look for the ids of those of some runs that ended without Redis."""
    return select(PluginRun.plugin_run_id).where(
        PluginRun.plugin_run_id.in_(run_ids),
        PluginRun.status == FAILED,
        PluginRun.published_at.is_(None),
    )


def narrowed(query: Select[PluginRun], which: RunFilter) -> Select[PluginRun]:
    """Return a query for those only that match."""
    if which.statuses:
        known = [status for status in which.statuses if status in STATUSES]
        query = query.where(PluginRun.status.in_(known))
    if which.plugin:
        query = query.where(PluginRun.plugin_name == which.plugin)
    if which.user_id is not None:
        query = query.where(PluginRun.user_id == which.user_id)
    if which.since is not None:
        query = query.where(PluginRun.created_at >= which.since)
    if which.until is not None:
        query = query.where(PluginRun.created_at < which.until)
    return query
