"""A real conda, a channel of local files and a Python with only Snakemake, all in one folder.

The conda is the one that conda-lock carries. The channel is called conda-forge and holds wheels
from PyPI, packed as conda packages, and a Python that is a virtual environment of the machine's.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import platform
import re
import subprocess
import sys
import tarfile
import zipfile
from email.parser import Parser
from pathlib import Path

import yaml
from conda_package_streaming.create import conda_builder
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name, parse_wheel_filename

ROOT = Path(__file__).parents[2]
CONDA_LOCK = "conda-lock==4.0.3"
"""It carries conda 24.7.1, the oldest that Snakemake takes."""
VENV = Path(sys.prefix)
"""Where this runs: it has what that conda needs."""
SITE = Path(f"lib/python{sys.version_info.major}.{sys.version_info.minor}/site-packages")
ON_PYPI = {"matplotlib-base": "matplotlib", "pytorch": "torch"}
"""Packages with another name on PyPI than on conda-forge."""
ON_CONDA_FORGE = {pypi: name for name, pypi in ON_PYPI.items()}
METADATA = r"[^/]+\.dist-info/METADATA"
TORCH = "2.13.0"
"""Without CUDA where pip finds such a wheel: with it, it is some gigabytes more."""

CONDARC = """
channel_alias: file://{root}/channels
default_channels: []
channel_priority: strict
solver: classic
pkgs_dirs: [{root}/pkgs]
register_envs: false
add_pip_as_python_dependency: false
auto_update_conda: false
notify_outdated_conda: false
"""
LAUNCHER = """#!{python}
import sys
from conda.cli import main
if __name__ == "__main__":  # conda spawns a process that imports this again
    sys.exit(main())
"""
ACTIVATE = """eval "$({python} -m conda shell.posix activate "$@")"
"""
PYTHON = """#!/usr/bin/env bash
exec -a "$0" {python} "$@"
"""
PYVENV = """home = {folder}
include-system-site-packages = false
"""


def declared() -> list[str]:
    """What environment.yml asks for, as it stands there."""
    return yaml.safe_load((ROOT / "environment.yml").read_text())["dependencies"]


def tested() -> dict[str, str]:
    """The versions that the other tests run with, by the names of conda-forge."""
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pins = (line.split("==") for line in lines if "==" in line)
    return {ON_CONDA_FORGE.get(name, name).lower(): version for name, version in pins}


def pip(*arguments: str, python: str = sys.executable, constraints: Path | None = None) -> None:
    flags = os.environ.get("PIP_FLAGS", "").split()
    command = [python, "-m", "pip", *arguments, "--quiet", *flags]
    command += ["--constraint", str(constraints or ROOT / "constraints.txt")]
    subprocess.run(command, check=True)


def conda(root: Path) -> Path:
    """Make conda-lock's conda one to be called; returns the folder for PATH."""
    # apart: conda-lock itself needs much more, and would call itself a plugin of conda's
    pip("install", "--no-deps", "--target", str(root / "conda-lock"), CONDA_LOCK)
    source = root / "conda-lock/conda_lock/_vendor/conda"
    for path in source.rglob("*.py"):
        target = VENV / SITE / "conda" / path.relative_to(source)
        target.parent.mkdir(parents=True, exist_ok=True)
        text = path.read_text().replace("conda_lock._vendor.conda", "conda")
        target.write_text(text)
    (VENV / ".condarc").write_text(CONDARC.format(root=root))
    (VENV / "bin/activate").write_text(ACTIVATE.format(python=sys.executable))
    launcher = root / "condabin/conda"
    launcher.parent.mkdir(parents=True)
    launcher.write_text(LAUNCHER.format(python=sys.executable))
    launcher.chmod(0o755)
    return launcher.parent


def download(root: Path) -> list[Path]:
    """The wheels of what environment.yml names, with all that these need."""
    constraints = root / "constraints.txt"
    pins = (ROOT / "constraints.txt").read_text().splitlines()
    constraints.write_text("\n".join(pin for pin in pins if not pin.startswith("torch")))
    names = [spec.split()[0] for spec in declared() if not spec.startswith("python ")]
    wanted = [ON_PYPI.get(name, name) for name in names if name != "pytorch"]
    wanted.append(f"torch=={TORCH}")
    options = ("--only-binary", ":all:", "--dest", str(root / "wheels"))
    pip("download", *options, *wanted, constraints=constraints)
    return sorted((root / "wheels").glob("*.whl"))


def channel(root: Path) -> None:
    """The channel conda-forge of local files: a package a wheel, and the machine's Python."""
    folder = root / "channels/conda-forge/noarch"
    folder.mkdir(parents=True)
    for wheel in download(root):
        _pack_wheel(wheel, folder)
    _pack_python(folder)
    packages = {}
    for path in folder.glob("*.conda"):
        facts = json.loads((folder / f"{path.stem}.json").read_text())
        content = path.read_bytes()
        facts |= {"size": len(content), "sha256": hashlib.sha256(content).hexdigest()}
        packages[path.name] = facts
    _index(folder, packages)
    _index(folder.parent / "linux-64", {})


def _index(folder: Path, packages: dict[str, dict]) -> None:
    folder.mkdir(exist_ok=True)
    index = {"info": {"subdir": folder.name}, "packages": {}, "packages.conda": packages}
    (folder / "repodata.json").write_text(json.dumps(index))


def _pack(folder: Path, name: str, version: str, depends: list[str], files) -> None:
    """Write a package: files are of path in the environment, mode and content."""
    stem = f"{name}-{version}-0"
    facts = {"name": name, "version": version, "build": "0", "build_number": 0, "depends": depends}
    facts |= {"subdir": "noarch"}
    (folder / f"{stem}.json").write_text(json.dumps(facts))
    paths = []
    with conda_builder(stem, folder, compression_level=1, compression_threads=2) as package:

        def add(path: str, mode: int, content: bytes) -> None:
            member = tarfile.TarInfo(path)
            member.mode, member.size = mode, len(content)
            package.addfile(member, io.BytesIO(content))

        for path, mode, content in files:
            paths.append(path)
            add(path, mode, content)
        add("info/index.json", 0o644, json.dumps(facts).encode())
        add("info/files", 0o644, "\n".join(paths).encode())


def _pack_wheel(wheel: Path, folder: Path) -> None:
    """Its files as they are, without the scripts; its requirements as dependencies."""
    name, version, _, _ = parse_wheel_filename(wheel.name)
    with zipfile.ZipFile(wheel) as archive:
        [metadata] = (n for n in archive.namelist() if re.fullmatch(METADATA, n))
        facts = Parser().parsestr(archive.read(metadata).decode())
        needs = [Requirement(text) for text in facts.get_all("Requires-Dist") or ()]
        depends = [f"python {platform.python_version()}"]
        for need in needs:
            if need.marker is None or need.marker.evaluate({"extra": ""}):
                needed = canonicalize_name(need.name)
                depends.append(f"{ON_CONDA_FORGE.get(needed, needed)} {need.specifier}".strip())
        files = (
            (str(SITE / i.filename), 0o644, archive.read(i))
            for i in archive.infolist()
            if not i.is_dir() and ".data/" not in i.filename
        )
        _pack(folder, ON_CONDA_FORGE.get(name, name), version.public, depends, files)


def _pack_python(folder: Path) -> None:
    """A Python that runs the machine's, with packages of its own as in a virtual environment."""
    python = Path(os.path.realpath(sys.executable))
    start, settings = PYTHON.format(python=python), PYVENV.format(folder=python.parent)
    names = ("python", "python3", f"python{sys.version_info.major}.{sys.version_info.minor}")
    files = [(f"bin/{name}", 0o755, start.encode()) for name in names]
    files.append(("pyvenv.cfg", 0o644, settings.encode()))
    _pack(folder, "python", platform.python_version(), [], files)


def caller(root: Path) -> Path:
    """A Python with Snakemake alone, as a user has it who leaves the rest to conda."""
    venv = root / "caller"
    subprocess.run([sys.executable, "-m", "venv", str(venv)], check=True)
    pip("install", "snakemake", python=str(venv / "bin/python"))
    return venv / "bin"
