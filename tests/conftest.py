"""What holds for all tests: one thread per process, and no network.

Sums over several threads round differently, and a tiny model trained for seconds is sensitive enough to end elsewhere;
and tests that start processes of their own would have their threads wait for each other. And nothing is looked up on a hub:
a name that must be unknown would otherwise be asked for, over and over, until the network gives up.

Where a library of the extra `extract` is missing, tests that import it are skipped.
"""

import os
from collections.abc import Generator

import pytest

os.environ["OMP_NUM_THREADS"] = "1"
os.environ["HF_HUB_OFFLINE"] = "1"

EXTRACT = ("av", "cv2", "ai_edge_litert")


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(
    collector: pytest.Collector,
) -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    report = yield
    call = report.__dict__["call"]
    if call.excinfo is not None:
        _skip_without_extract(report, call.excinfo.value.__cause__, collector)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if call.excinfo is not None:
        _skip_without_extract(report, call.excinfo.value, item)
    return report


def _skip_without_extract(
    report: pytest.CollectReport | pytest.TestReport, error: BaseException | None, node: pytest.Item | pytest.Collector
) -> None:
    if isinstance(error, ModuleNotFoundError) and error.name in EXTRACT:
        report.outcome = "skipped"
        report.longrepr = (str(node.path), 0, f"Skipped: {error.name} comes with the extra extract")
