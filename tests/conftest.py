"""What all tests share: a private Ray cluster for the session, and small shards to train on."""

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from helpers import PROJECT, REAL, build_shards, make_project, run_stage

from pipeline.core import environment

environment.prepare()  # before anything imports Ray
os.environ.setdefault("RAY_worker_niceness", "0")  # Ray's 15 starves ranks on a busy machine
signal.signal(
    signal.SIGINT, signal.default_int_handler
)  # a shell's background job ignores it, as would its children


RAY_FIXTURES = {"ray_address", "ray_cluster"}


LONG = ("test_docs", "test_adding", "test_export", "test_rows", "test_stored", "test_predict")
"""Files without a cluster that take half a minute."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the files that use the session's cluster or heads of their own, then the other
    long ones: processes take whole files in turn, and short ones fill the end.
    """
    slow = {
        item.path
        for item in items
        if RAY_FIXTURES & set(getattr(item, "fixturenames", ())) or item.get_closest_marker("heads")
    }
    items.sort(key=lambda item: (item.path not in slow, item.path.stem not in LONG))


@pytest.fixture(scope="session")
def ray_address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """One local cluster for the session, in a folder of its own."""
    environment.own_token()
    os.environ["PYTHONPATH"] = str(PROJECT)
    import ray

    def start() -> Any:
        return ray.init(
            address="local",
            num_cpus=4,
            include_dashboard=False,
            log_to_driver=False,
            logging_level="ERROR",
            object_store_memory=128 * 2**20,
            _temp_dir=str(tmp_path_factory.mktemp("r")),
        )

    for more in (True, True, False):
        try:
            context = start()
            break
        except Exception:  # Ray gives its head 30 s, which are not enough on a busy machine
            ray.shutdown()
            if not more:
                raise
    yield str(context.address_info["gcs_address"])
    ray.shutdown()


@pytest.fixture(scope="session")
def ray_cluster(ray_address: str) -> None:
    """This process is connected to the session's cluster."""


@pytest.fixture(scope="session")
def small_shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Shards of 160 training and 37 validation images at 32 px with reassessed labels, built
    without Ray.
    """
    project = make_project(tmp_path_factory.mktemp("small"))
    (project / "real.json").write_text(json.dumps(REAL))
    params = (project / "params.yaml").read_text()
    (project / "params.yaml").write_text(
        params.replace("{imagenet: {", "{imagenet: {real_labels: real.json, ")
    )
    run_stage(project, "pipeline.fetch", "imagenet")
    return build_shards(project, "imagenet")


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project that published networks of all tasks, trained a few steps without Ray."""
    from trained import train_all

    return train_all(tmp_path_factory.mktemp("trained"))
