"""A built wheel is all that a user needs."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from collections.abc import Iterable
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from tests.e2e import service as services

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    subprocess.run(
        [sys.executable, "-m", "build", "--wheel", "--outdir", str(folder), str(ROOT)],
        check=True,
        capture_output=True,
        timeout=300,
    )
    (made,) = folder.glob("*.whl")
    return made


def link_requirements(
    of: metadata.Distribution, extras: Iterable[str], site: Path, linked: set[str]
) -> None:
    """Put what a distribution asks for, and what that asks for, into an environment: as links to
    the files that are installed here, since half a gigabyte takes long to install again.
    """
    for line in of.requires or ():
        asked = Requirement(line)
        if asked.marker and not any(asked.marker.evaluate({"extra": e}) for e in ("", *extras)):
            continue
        if (key := f"{asked.name}{sorted(asked.extras)}") in linked:
            continue
        linked.add(key)
        found = metadata.distribution(asked.name)
        for file in found.files or ():
            link = site / file
            if ".." not in file.parts and not link.exists():
                link.parent.mkdir(parents=True, exist_ok=True)
                link.symlink_to(Path(str(found.locate_file(file))))
        link_requirements(found, asked.extras, site, linked)


def test_the_wheel_carries_what_the_service_reads(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    assert {"footfall/_gateway/envoy.yaml", "footfall/_gateway/footfall.binpb"} <= names
    sources = ROOT / "server" / "footfall"
    for path in sources.rglob("*"):
        if path.is_file() and "__pycache__" not in path.parts:
            assert f"footfall/{path.relative_to(sources).as_posix()}" in names


def test_the_wheel_runs_with_what_it_requires_and_nothing_else(
    wheel: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    environment = tmp_path / "environment"
    subprocess.run(
        [sys.executable, "-m", "venv", "--without-pip", str(environment)], check=True, timeout=120
    )
    python = environment / "bin" / "python"
    pip = [sys.executable, "-m", "pip", "--python", str(python)]
    subprocess.run([*pip, "install", "--quiet", "--no-deps", str(wheel)], check=True, timeout=120)
    (site,) = (environment / "lib").glob("python*/site-packages")
    (footfall,) = metadata.distributions(name="footfall", path=[str(site)])
    link_requirements(footfall, (), site, set())
    subprocess.run([*pip, "check"], check=True, timeout=120)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("PYTHONPATH", raising=False)
    monkeypatch.setattr(services, "FOOTFALL", (str(environment / "bin" / "footfall"),))
    with services.running(tmp_path / "data") as service:
        service.cli("account", "create", "wheel")
        made = service.cli("app", "create", "app", "--account", "wheel")
        writes = {"x-auth-user": made["id"], "x-auth-key": made["write_key"]}
        event = {"method": "GET", "url": "/", "response_us": 1}
        assert service.post_json("/1/event/", [event], writes).json["accepted"] == 1
        imported = subprocess.run(
            [python, "-c", "import footfall; print(footfall.__file__)"],
            check=True,
            capture_output=True,
            env={**os.environ, "PYTHONPATH": ""},
        ).stdout.decode()
        assert str(environment) in imported
