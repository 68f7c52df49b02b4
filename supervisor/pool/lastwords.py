"""The stacks of a worker that is about to be killed, picked from what comes on its log pipe.

faulthandler writes them from inside its signal handler, in C, whatever the crew is doing;
the crew may be printing at the same time. Their end cannot be read off the text: it can from
the signal, which is neither pending nor blocked any more once its handler has returned.
"""

import re

from worker.protocol import STACKS_SIGNAL

# A dead letter takes 8,000 characters of a stack; the threads beside the first are cut first.
MOST_CHARACTERS = 8000
MOST_LINES = 2000
_HEAD = re.compile(r"(Current t|T)hread 0x[0-9a-f]+ .{0,64}\(most recent call first\):")
_FRAME = re.compile(r'  (File ".{1,999}", line (\d{1,9}|\?\?\?) in .{1,999}|\.\.\.|<no Python .*)')
_MASKS = (b"ShdPnd", b"SigPnd", b"SigBlk")


class LastWords:
    """Collects the lines of stacks, and drops all others."""

    def __init__(self) -> None:
        self._threads: list[list[str]] = []
        self._open: list[str] = []
        self._lines = 0

    @property
    def have_begun(self) -> bool:
        """Whether a stack was seen."""
        return bool(self._threads)

    def hear(self, line: str) -> None:
        """Take in one line of the log."""
        if self._lines >= MOST_LINES:
            return
        if _HEAD.fullmatch(line):
            # First the thread that answered the signal, which is where kickoff() was called.
            place = 0 if line.startswith("Current") else len(self._threads)
            self._open = [line]
            self._threads.insert(place, self._open)
        elif self._threads and _FRAME.fullmatch(line):
            self._open.append(line)
        else:
            return
        self._lines += 1

    def text(self) -> str:
        """Return the stacks, the crew's thread first; "" when none came."""
        whole = "\n\n".join("\n".join(thread) for thread in self._threads)
        return whole[:MOST_CHARACTERS]


def has_answered(pid: int) -> bool:
    """Whether the handler of the signal for stacks has run to its end, or the process is gone.

    A handler's own signal is blocked while it runs. Shortly before it begins the signal is
    neither pending nor blocked: ask only after a stack has begun.
    """
    try:
        with open(f"/proc/{pid}/status", "rb") as file:  # noqa: PTH123  # asked every 2 ms
            lines = file.read().splitlines()
    except OSError:
        return True
    bit = 1 << (STACKS_SIGNAL - 1)
    masks = (line.split()[1] for line in lines if line.startswith(_MASKS))
    return not any(int(mask, 16) & bit for mask in masks)
