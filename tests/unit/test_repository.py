"""Rules that hold for the repository as a whole."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LEFT_OUT = re.compile(r"__pycache__|build|dist|.*\.egg-info|\.(?!ci$|github$)\w.*")
MOST_LINES = 300


def files(*suffixes):
    """Every file of the repository, or those with one of these endings."""
    found = []
    for folder, names, here in os.walk(ROOT):
        top = Path(folder) == ROOT
        names[:] = [name for name in names if not LEFT_OUT.fullmatch(name)]
        # At the top the dot files are ours (.dockerignore); a .coverage is not.
        found += [Path(folder, name) for name in here if not top or name != ".coverage"]
    return sorted(path for path in found if not suffixes or path.suffix in suffixes)


def make(*arguments, cwd=ROOT):
    """Run make as if nobody had called us from a Makefile."""
    env = {key: value for key, value in os.environ.items() if not key.startswith("MAKE")}
    command = ["make", "--no-print-directory", *arguments]
    return subprocess.run(
        command, cwd=cwd, env=env, capture_output=True, text=True, check=False, timeout=60
    )


# Put together from pieces, or this file would be the one that names them.
FOREIGN = {
    "a package index": "|".join(
        re.escape("".join(pieces))
        for pieces in (
            ("py", "pi.org"),
            ("python", "hosted.org"),
            ("registry.npm", "js"),
            ("index", "-url"),
            ("find", "-links"),
        )
    ),
    "a folder of somebody's machine": "|".join(
        rf"(?<![\w.]){'/' + first}{rest}/"
        for first, rest in (
            ("ho", r"me/\w+"),
            ("Us", r"ers/\w+"),
            ("ro", "ot"),
            ("wo", "rk"),
            ("fa", "rm"),
        )
    ),
    "the path of this checkout": re.escape(str(ROOT)) + r"\b",
}


@pytest.mark.parametrize("what", FOREIGN)
def test_no_file_names(what):
    pattern = re.compile(FOREIGN[what])

    naming = [
        f"{path.relative_to(ROOT)}: {match[0]}"
        for path in files()
        if (match := pattern.search(path.read_text("utf-8", "ignore")))
    ]

    assert naming == []


def test_no_python_file_is_longer_than_300_lines():
    lengths = {path: len(path.read_text("utf-8").splitlines()) for path in files(".py")}

    assert [
        f"{path.relative_to(ROOT)}: {n}" for path, n in lengths.items() if n >= MOST_LINES
    ] == []


def links(path):
    """Every link of a document that is no address: the file it names, and the anchor."""
    prose = re.sub(r"```.*?```|`[^`\n]*`", "", path.read_text("utf-8"), flags=re.DOTALL)
    for link in re.findall(r"\]\(([^)\s]+)\)", prose):
        if not re.match(r"[a-z]+:", link):
            target, _, anchor = link.partition("#")
            yield (path.parent / target if target else path), anchor


def anchors(path):
    """The anchors that a forge makes of a document's headings."""
    headings = re.findall(r"^#+ (.+)$", path.read_text("utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in headings}


def test_every_relative_link_in_the_documents_resolves():
    dangling = [
        f"{path.relative_to(ROOT)}: {target.relative_to(path.parent)}#{anchor}"
        for path in files(".md")
        for target, anchor in links(path)
        if not target.exists() or (anchor and anchor not in anchors(target))
    ]

    assert dangling == []


def test_make_without_a_target_lists_all_targets():
    text = (ROOT / "Makefile").read_text("utf-8")
    targets = set(re.search(r"^\.PHONY: (.*)$", text, re.MULTILINE)[1].split())

    listed = make()

    assert listed.returncode == 0, listed.stderr
    assert set(re.findall(r"^  make (\S+)", listed.stdout, re.MULTILINE)) == targets
    assert set(re.findall(r"^([a-z-]+):", text, re.MULTILINE)) == targets


def test_make_setup_without_a_usable_python_says_what_to_install(tmp_path):
    for name in ("Makefile", "pyproject.toml", "constraints.txt"):
        shutil.copy(ROOT / name, tmp_path)

    refused = make("setup", "PYTHON=false", cwd=tmp_path)

    assert refused.returncode != 0
    assert "no usable Python. Tried: false." in refused.stderr
    assert "apt-get install python3 python3-venv" in refused.stderr
    assert not (tmp_path / ".venv").exists()


def test_ci_runs_the_test_command_of_the_readme():
    assert "\nmake test" in (ROOT / ".ci" / "run").read_text("utf-8")
    assert "make test" in (ROOT / "README.md").read_text("utf-8")
