"""The unit for systemd: well-formed, and right where it matters."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from supervisor.errors import Exit
from supervisor.settings import Settings
from supervisor.watchdog import PATIENCE_S, PULSE_S

UNIT = Path(__file__).parents[2] / "deploy" / "systemd" / "crewpool.service"
TEXT = UNIT.read_text("utf-8")


@pytest.fixture
def service():
    """The settings of [Service], the last one of a name."""
    body = TEXT.partition("[Service]")[2].partition("[Install]")[0]
    return dict(re.findall(r"^(\w+)=(.*)$", body, re.MULTILINE))


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="no systemd here")
def test_systemd_finds_nothing(tmp_path):
    # The program is not on this machine, and systemd would say so.
    unit = tmp_path / UNIT.name
    text = re.sub(r"^ExecStart=\S+", f"ExecStart={sys.executable}", TEXT, flags=re.MULTILINE)
    unit.write_text(text, "utf-8")

    told = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", unit],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )

    # Units of the machine that it pulls in may have flaws of their own.
    assert UNIT.name not in told.stdout + told.stderr


def test_it_is_ready_when_we_say_so_and_watched(service):
    assert (service["Type"], service["NotifyAccess"]) == ("notify", "main")
    assert int(service["WatchdogSec"]) >= 2 * PULSE_S
    assert min(int(service["TimeoutStartSec"]), PATIENCE_S) > 2 * PULSE_S


def test_a_drain_has_its_time_and_only_the_supervisor_is_told(service):
    drain_s = Settings.model_fields["drain_s"].default

    assert int(service["TimeoutStopSec"]) >= drain_s + 30
    assert service["KillMode"] == "mixed"
    assert "KillSignal" not in service


def test_exit_codes_mean_what_they_mean(service):
    hopeless = {int(code) for code in service["RestartPreventExitStatus"].split()}

    assert service["Restart"] == "on-failure"
    assert hopeless == {Exit.BAD_SETTINGS, Exit.CANNOT_BOOT}
    assert int(service["SuccessExitStatus"]) == Exit.DRAIN_RAN_OUT


def test_workers_can_have_control_groups_and_die_alone(service):
    assert service["Delegate"] == "yes"
    assert service["OOMPolicy"] == "continue"
    assert "ProtectControlGroups" not in service


def test_crews_get_no_more_of_the_host_than_they_need(service):
    assert service["User"] not in ("root", "")
    assert service["CapabilityBoundingSet"] == ""
    assert service["ProtectSystem"] == "strict"
    assert service["NoNewPrivileges"] == service["ProtectHome"] == service["PrivateTmp"] == "yes"
    # Libraries compile at run time.
    assert "MemoryDenyWriteExecute" not in service
