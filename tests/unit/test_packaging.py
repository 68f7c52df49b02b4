"""What is installed is what stands here: no foreign package of our name, no file left out."""

import re
import subprocess
import sys
import tomllib
from importlib.metadata import packages_distributions, version
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
PACKAGES = ("supervisor", "worker")


@pytest.mark.parametrize("package", PACKAGES)
def test_the_installed_package_of_that_name_is_ours(package, tmp_path):
    # Isolated and elsewhere, so that the folder beside the tests cannot answer for it:
    # the distribution of supervisord brings a package `supervisor`, too.
    where = subprocess.run(
        [sys.executable, "-I", "-c", f"import {package}; print({package}.__file__)"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )

    assert where.stdout.strip() == str(ROOT / package / "__init__.py"), where.stderr
    assert set(packages_distributions()[package]) == {"crewpool"}


def test_every_file_that_is_no_module_is_declared_as_package_data():
    declared = PYPROJECT["tool"]["setuptools"]["package-data"]
    packed = {
        path
        for package in PACKAGES
        for glob in declared[package]
        for path in (ROOT / package).glob(glob)
    }

    others = {
        path
        for package in PACKAGES
        for path in (ROOT / package).rglob("*")
        if path.is_file() and path.suffix not in {".py", ".pyc"}
    }

    assert others == packed
    assert any(path.suffix == ".lua" for path in packed)


def test_every_folder_with_modules_is_a_package():
    # setuptools would pack it without, but mypy and import-linter would not look into it.
    folders = {path.parent for package in PACKAGES for path in (ROOT / package).rglob("*.py")}

    assert [str(folder) for folder in folders if not (folder / "__init__.py").is_file()] == []


def test_the_version_is_told_by_the_changelog():
    told = re.findall(r"^## \[([^\]]+)\]", (ROOT / "CHANGELOG.md").read_text("utf-8"), re.MULTILINE)

    assert version("crewpool") == PYPROJECT["project"]["version"]
    assert told[0] in {"Unreleased", PYPROJECT["project"]["version"]}


def test_constraints_are_exact_versions_and_nothing_else():
    lines = (ROOT / "constraints.txt").read_text("utf-8").splitlines()
    pins = [line for line in lines if line and not line.startswith("#")]
    names = [re.split(r"==", pin)[0].lower().replace("_", "-").replace(".", "-") for pin in pins]

    assert [pin for pin in pins if not re.fullmatch(r"[\w.-]+==[\w.!+]+", pin)] == []
    assert len(set(names)) == len(names)
    assert {"crewpool", "pip", "setuptools"} & set(names) == set()


def test_every_direct_dependency_has_its_constraint():
    project = PYPROJECT["project"]
    extras = project["optional-dependencies"].values()
    wanted = [*project["dependencies"], *(need for extra in extras for need in extra)]
    direct = {re.match(r"[\w.-]+", need)[0].lower().replace("_", "-") for need in wanted}
    pinned = {
        line.split("==")[0].lower().replace("_", "-")
        for line in (ROOT / "constraints.txt").read_text("utf-8").splitlines()
    }

    assert direct - pinned == set()
