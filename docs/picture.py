"""Draws docs/demo.svg from a real `crewpool demo`, as a terminal of 100 columns shows it.

Run by hand after the demo's output changed:  python docs/picture.py
"""

import os
import pty
import re
import subprocess
import sys
from pathlib import Path

from rich.console import Console
from rich.text import Text

COLUMNS = 100
PICTURE = Path(__file__).with_name("demo.svg")


def output_of_the_demo() -> str:
    """Run the demo in a pseudo-terminal; return what it writes to stdout, colours included."""
    parent, child = pty.openpty()
    environment = {**os.environ, "COLUMNS": str(COLUMNS), "LINES": "60", "TERM": "xterm-256color"}
    command = [sys.executable, "-m", "supervisor.cli", "demo"]
    process = subprocess.Popen(
        command, stdout=child, stderr=subprocess.DEVNULL, stdin=subprocess.DEVNULL, env=environment
    )
    os.close(child)
    chunks = []
    try:
        while data := os.read(parent, 65536):
            chunks.append(data)
    except OSError:  # the other end is closed: EIO is how a pseudo-terminal says so
        pass
    if code := process.wait():
        raise SystemExit(f"the demo ended with {code}")
    return b"".join(chunks).decode().replace("\r", "")


def main() -> None:
    """Draw the picture."""
    text = re.sub(r"\n{3,}", "\n\n", output_of_the_demo()).strip()
    console = Console(record=True, width=COLUMNS, file=open(os.devnull, "w"), force_terminal=True)
    console.print("$ make demo", style="bold")
    console.print(Text.from_ansi(text))
    svg = console.export_svg(title="crewpool demo")
    # Fonts from somebody else's server: a picture must not load anything.
    svg = re.sub(r"\s*@font-face \{.*?\}", "", svg, flags=re.DOTALL)
    PICTURE.write_text(re.sub(r"<!-- .*? -->\s*", "", svg).replace("Fira Code, ", ""))


if __name__ == "__main__":
    main()
