# SPDX-License-Identifier: Apache-2.0
"""What is built and shipped: exports, source archive, wheel."""

import importlib.util
import os
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile

import pytest
from csource import ROOT

IGNORED = {"__pycache__", "build", "dist", ".git", ".venv", ".pytest_cache", ".hypothesis",
           ".ruff_cache", ".mypy_cache"}  # fmt: skip


def exports_of(library) -> set[str]:
    listing = subprocess.run(
        ["nm", "-D", "--defined-only", library], check=True, capture_output=True, text=True,
        timeout=30,
    ).stdout  # fmt: skip
    return {line.split()[-1] for line in listing.splitlines()}


@pytest.mark.parametrize("name", ["_core", "_stepper"])
def test_an_extension_exports_its_init_function_and_nothing_else(name):
    library = importlib.util.find_spec(f"ipcsys.{name}").origin
    assert exports_of(library) == {f"PyInit_{name}"}


def files_under(*folders, suffixes) -> set[str]:
    return {
        str(path.relative_to(ROOT))
        for folder in folders
        for path in (ROOT / folder).rglob("*")
        if path.suffix in suffixes and not IGNORED & set(path.relative_to(ROOT).parts)
        and not any(part.endswith(".egg-info") for part in path.parts)
    }  # fmt: skip


def run(*command, cwd, **environment):
    done = subprocess.run(
        [str(part) for part in command], cwd=cwd, env={**os.environ, **environment},
        capture_output=True, text=True, timeout=240,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]


@pytest.fixture(scope="module")
def sdist(tmp_path_factory):
    """The source archive, unpacked, made from a clean copy of the tree."""
    work = tmp_path_factory.mktemp("sdist")
    tree = tmp_path_factory.mktemp("tree") / "ipcsys"
    shutil.copytree(ROOT, tree, ignore=shutil.ignore_patterns(*IGNORED, "*.egg-info", "*.so"))
    run(sys.executable, "-m", "build", "--no-isolation", "--sdist", "--outdir", work, tree,
        cwd=work)  # fmt: skip
    (archive,) = work.glob("*.tar.gz")
    with tarfile.open(archive) as tar:
        tar.extractall(work, filter="data") if hasattr(tarfile, "data_filter") else tar.extractall(work)
    (folder,) = [path for path in work.iterdir() if path.is_dir()]
    return folder


def test_the_source_archive_is_complete(sdist):
    wanted = files_under("csrc", "ipcsys", "tests", "examples", "docs",
                         suffixes={".c", ".h", ".py", ".pyi", ".typed", ".md", ".txt"})  # fmt: skip
    wanted |= {"setup.py", "pyproject.toml", "LICENSE", "README.md", "CHANGELOG.md"}
    missing = sorted(name for name in wanted if not (sdist / name).is_file())
    assert missing == []


@pytest.mark.timeout(300)
def test_a_wheel_built_from_the_archive_is_complete(sdist, tmp_path):
    # Unoptimised, because only the list of files is looked at.
    compiler = tmp_path / "quick-cc"
    compiler.write_text('#!/bin/sh\nexec cc "$@" -O0 -w\n')
    compiler.chmod(0o755)
    run(sys.executable, "-m", "build", "--no-isolation", "--wheel", "--outdir", tmp_path, sdist,
        cwd=tmp_path, CC=str(compiler))  # fmt: skip
    (wheel,) = tmp_path.glob("*.whl")
    names = set(zipfile.ZipFile(wheel).namelist())
    wanted = files_under("ipcsys", suffixes={".py", ".pyi", ".typed"})
    assert sorted(wanted - names) == []
    for extension in ("_core", "_stepper"):
        assert any(re.match(rf"ipcsys/{extension}\..*so$", name) for name in names), extension
    strangers = [name for name in names if not re.match(r"ipcsys/|ipcsys-[^/]*\.dist-info/", name)]
    assert strangers == []
