"""How many cores a process may use: by its control groups, and by what SLURM has granted."""

from __future__ import annotations

from pathlib import Path

import pytest

from bemerc.core import cpu


@pytest.fixture(autouse=True)
def groups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine of 16 cores, without quotas and without SLURM, whose control groups lie in this folder."""
    monkeypatch.setattr(cpu, "_CGROUPS", tmp_path / "cgroup")
    monkeypatch.setattr(cpu, "_MEMBERSHIP", tmp_path / "membership")
    monkeypatch.setattr("os.sched_getaffinity", lambda _: set(range(16)), raising=False)
    monkeypatch.delenv("SLURM_CPUS_PER_TASK", raising=False)
    (tmp_path / "cgroup").mkdir()
    return tmp_path / "cgroup"


def test_all_that_it_is_bound_to() -> None:
    assert cpu.usable_cores() == 16


@pytest.mark.parametrize(("granted", "cores"), [("4", 4), ("64", 16), ("0", 1), ("", 16), ("many", 16)])
def test_slurm(monkeypatch: pytest.MonkeyPatch, granted: str, cores: int) -> None:
    monkeypatch.setenv("SLURM_CPUS_PER_TASK", granted)
    assert cpu.usable_cores() == cores


@pytest.mark.parametrize(
    ("written", "cores"), [("200000 100000", 2), ("250000 100000", 3), ("max 100000", 16), ("1 0", 16), ("", 16)]
)
@pytest.mark.parametrize("where", ["", "system.slice", "system.slice/job"])
def test_a_quota_of_the_group_or_of_one_above(groups: Path, written: str, cores: int, where: str) -> None:
    (groups.parent / "membership").write_text("0::/system.slice/job\n")
    (groups / "system.slice" / "job").mkdir(parents=True)
    (groups / where / "cpu.max").write_text(written)
    assert cpu.usable_cores() == cores


@pytest.mark.parametrize(("quota", "cores"), [("150000", 2), ("-1", 16), ("x", 16)])
def test_a_quota_of_version_1(groups: Path, quota: str, cores: int) -> None:
    (groups.parent / "membership").write_text("8:memory:/job\n1:cpu,cpuacct:/job\n0::/\n")
    folder = groups / "cpu,cpuacct" / "job"
    folder.mkdir(parents=True)
    (folder / "cpu.cfs_quota_us").write_text(quota)
    (folder / "cpu.cfs_period_us").write_text("100000")
    assert cpu.usable_cores() == cores


def test_a_container_that_sees_its_own_group_as_the_root(groups: Path) -> None:
    (groups.parent / "membership").write_text("0::/docker/abcdef\n")
    (groups / "cpu.max").write_text("300000 100000")
    assert cpu.usable_cores() == 3
