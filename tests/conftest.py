"""What all tests share: a private Ray cluster for the session, and small shards to train on."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from helpers import PROJECT, make_project, run_stage

from pipeline import environment

environment.prepare()  # before anything imports Ray


@pytest.fixture(scope="session")
def ray_address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """One local cluster for the session, in a folder of its own."""
    environment.own_token()
    os.environ["PYTHONPATH"] = str(PROJECT)
    os.environ.setdefault("RAY_worker_niceness", "0")  # Ray's 15 starves ranks on a busy machine
    import ray

    context = ray.init(
        address="local", num_cpus=4, include_dashboard=False, log_to_driver=False, logging_level="ERROR",
        object_store_memory=128 * 2**20, _temp_dir=str(tmp_path_factory.mktemp("r")),
    )  # fmt: skip
    yield str(context.address_info["gcs_address"])
    ray.shutdown()


@pytest.fixture(scope="session")
def ray_cluster(ray_address: str) -> None:
    """This process is connected to the session's cluster."""


@pytest.fixture(scope="session")
def small_shards(tmp_path_factory: pytest.TempPathFactory, ray_cluster: None) -> Path:
    """Shards of 160 training and 37 validation stand-ins at 32 px, made by the real stages."""
    project = make_project(tmp_path_factory.mktemp("small"))
    run_stage(project, "pipeline.fetch", "imagenet")
    run_stage(project, "pipeline.shard", "imagenet")
    return project / "data" / "shards" / "imagenet"
