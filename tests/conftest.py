"""What all tests share: a private Ray cluster for the session, and small shards to train on."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline import environment

environment.prepare()  # before anything imports Ray

PROJECT = Path(__file__).parents[1]
SHARED = PROJECT.parent / "shared"

needs_shared = pytest.mark.skipif(not SHARED.is_dir(), reason="needs ../shared, which is not here")


@pytest.fixture(scope="session")
def ray_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """One local cluster for the session, in a folder of its own."""
    environment.own_token()
    os.environ["PYTHONPATH"] = str(PROJECT)
    import ray

    ray.init(
        address="local", num_cpus=4, include_dashboard=False, log_to_driver=False, logging_level="ERROR",
        object_store_memory=128 * 2**20, _temp_dir=str(tmp_path_factory.mktemp("r")),
    )  # fmt: skip
    yield
    ray.shutdown()


@pytest.fixture(scope="session")
def small_shards(tmp_path_factory: pytest.TempPathFactory, ray_cluster: None) -> Path:
    """Shards of 160 training and 37 validation stand-ins at 32 px, made by the real stages."""
    project = make_project(tmp_path_factory.mktemp("small"))
    run_stage(project, "pipeline.fetch", "imagenet")
    run_stage(project, "pipeline.shard", "imagenet")
    return project / "data" / "shards" / "imagenet"


SMALL = """
data: {imagenet: {synthetic: {train: 160, val: 37, image_size: 32}}}
shard: {samples_per_shard: 50}
classify:
  recipe:
    duration: {epochs: 3}
    image_size: 32
    eval_resize: 32
    micro_batch: 8
    micro_batches: 2
    optimizer: {lr: 0.002, lr_batch: null}
    schedule: {warmup: {steps: 5}}
    augment: {rand_augment: null, color_jitter: 0.0, erasing: 0.0}
    checkpoint_every: {steps: 4}
  variants:
    dwnet_micro: {mixer: dwnet, size: micro}
    dynamic_dwnet_micro: {mixer: dynamic_dwnet, size: micro}
profile: {batch_size: 4, warmup: 1, timed: 2, train_timed: 2}
"""


def make_project(folder: Path) -> Path:
    """Make a folder that stages can run in: small params and the code that digests name."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "params.yaml").write_text(SMALL)
    for name in ("pipeline", "models"):
        (folder / name).symlink_to(PROJECT / name)
    return folder


def run_stage(project: Path, module: str, *args: str) -> None:
    """Run a stage's command line in this process, so that it uses the session's cluster."""
    import importlib

    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(project)
        patch.setattr("sys.argv", [module, *args])
        importlib.import_module(module).main()
