"""Whatever is typed as a cron line is one, or is refused in words."""

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from supervisor.runs.cron import Cron, CronInvalid

START = datetime(2026, 1, 1, tzinfo=UTC)


@given(
    st.lists(st.text("0123456789*/-,#LWMONJAFEB\x00٣ ", max_size=6), min_size=0, max_size=6).map(
        " ".join
    )
)
def test_any_text_is_a_line_or_is_refused(line):
    try:
        cron = Cron.read(line, "Europe/Berlin")
    except CronInvalid:
        return
    first = cron.after(START)
    assert first > START
    assert cron.due(first, first + timedelta(days=40)).at >= first
