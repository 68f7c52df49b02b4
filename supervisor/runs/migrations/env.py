"""What Alembic runs around the steps: on the connection that schema.py hands over."""

from typing import Any

from alembic import context

from supervisor.runs.migrations import VERSION_TABLE
from supervisor.runs.models import Base


def _ours(item: Any, name: str | None, kind: str, *_: Any) -> bool:
    """Whether it is a table of crewpool, and none that stands beside them."""
    del item
    return kind != "table" or name in Base.metadata.tables


context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=Base.metadata,
    version_table=VERSION_TABLE,
    include_object=_ours,
    # Also in SQLite: half an upgrade is worse than none. schema.py commits.
    transactional_ddl=True,
    render_as_batch=True,
)
with context.begin_transaction():
    context.run_migrations()
