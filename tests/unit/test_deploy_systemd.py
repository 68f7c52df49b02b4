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
# Of the application's side: they run no crews.
OTHERS = sorted(UNIT.parent.glob("crewpool-*.service"))


def service_of(text):
    """The settings of [Service], the last one of a name."""
    body = text.partition("[Service]")[2].partition("[Install]")[0]
    return dict(re.findall(r"^(\w+)=(.*)$", body, re.MULTILINE))


@pytest.fixture
def service():
    return service_of(TEXT)


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="no systemd here")
def test_systemd_finds_nothing(tmp_path):
    units = [UNIT, *OTHERS]
    for unit in units:
        # The program is not on this machine, and systemd would say so.
        text = unit.read_text("utf-8")
        text = re.sub(r"^ExecStart=\S+", f"ExecStart={sys.executable}", text, flags=re.MULTILINE)
        (tmp_path / unit.name).write_text(text, "utf-8")

    told = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", *sorted(tmp_path.iterdir())],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )

    # Units of the machine that it pulls in may have flaws of their own.
    assert not [unit.name for unit in units if unit.name in told.stdout + told.stderr]


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


@pytest.mark.parametrize("unit", OTHERS, ids=lambda unit: unit.stem)
def test_the_applications_side_gets_no_more_than_the_supervisor(unit, service):
    theirs = service_of(unit.read_text("utf-8"))
    alike = (
        "CapabilityBoundingSet",
        "NoNewPrivileges",
        "ProtectSystem",
        "ProtectHome",
        "PrivateTmp",
    )

    assert {name: theirs[name] for name in alike} == {name: service[name] for name in alike}
    assert theirs["ProtectProc"] == "invisible"
    assert theirs["Restart"] == "on-failure"
    assert int(theirs["RestartPreventExitStatus"]) == Exit.BAD_SETTINGS
