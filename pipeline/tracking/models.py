"""MLflow's models: a published network logged as MLflow logs networks, and registered by its name.

The model's file is the published one, and the module that MLflow is told to read it by makes the
network of it without running anything in it.
"""

import json
import os
import shutil
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

import models
from models.published import served
from models.published.size import size_of
from pipeline.tracking.database import alone
from pipeline.tracking.published import Published

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import RunInfo
    from mlflow.entities.model_registry import ModelVersion

ALIAS = "published"
SOURCE = "mlflow.source."
VERSIONS = "mlflow.modelVersions"
"""The tag by which MLflow's pages lead from a model to its versions."""
READER = "models.published.torch_load"
WEIGHTS = "model.safetensors"
LIBRARIES = ("mlflow", "numpy", "pillow", "safetensors", "timm", "torch", "torchvision")
PYTHON_ENV = "python: {python}\nbuild_dependencies: [pip]\ndependencies: [-r requirements.txt]\n"


def register(client: "MlflowClient", run: str, network: Published) -> str:
    """Have the alias `published` of a network's name lead to a version of these weights; return it.

    The same weights are the same version, however often they are published.
    """
    with alone(str(client.tracking_uri)):
        _name(client, network)
        versions = client.search_model_versions(f"name = '{network.name}'")
        same = [version for version in versions if version.tags.get("weights") == network.weights]
        chosen = same[0] if same else _add(client, run, network)
        client.set_registered_model_alias(network.name, ALIAS, chosen.version)
    return str(chosen.version)


def _name(client: "MlflowClient", network: Published) -> None:
    """Make the registered model, where there is none."""
    from mlflow.exceptions import MlflowException

    words = (
        f"`{network.variant}` of the task {network.experiment}. The alias `{ALIAS}` leads to what "
        f'`results/` holds: `mlflow.pytorch.load_model("models:/{network.name}@{ALIAS}")`.'
    )
    try:
        client.create_registered_model(network.name, description=words)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise


def _add(client: "MlflowClient", run: str, network: Published) -> "ModelVersion":
    """Log a network as a model of its run, and make a version of it."""
    from mlflow.entities import LoggedModelOutput

    config = json.loads((Path(network.folder) / "config.json").read_text())
    training = client.get_run(run)
    _forget_unfinished(client, training.info, network)

    facts = {
        name: str(config[name])
        for name in ("variant", "seed", "commit")
        if config[name] is not None
    }
    tags = {"weights": network.weights, **facts}
    source = {name: value for name, value in training.data.tags.items() if name.startswith(SOURCE)}

    logged = client.create_logged_model(
        training.info.experiment_id,
        name=network.variant,
        source_run_id=run,
        tags={**tags, **source},
        params={"architecture": config["architecture"], "network": config["network"]},
        model_type=config["network"],
    )

    place = urlsplit(logged.artifact_location)
    if place.scheme in ("", "file"):
        _write(Path(unquote(place.path)), run, logged.model_id, network, config)
    else:
        with TemporaryDirectory(prefix="mlflow-") as folder:
            _write(Path(folder), run, logged.model_id, network, config)
            client.log_model_artifacts(logged.model_id, folder)

    client.finalize_logged_model(logged.model_id, "READY")
    client.log_outputs(run, [LoggedModelOutput(logged.model_id, step=_evaluate(client, logged))])

    model_version = client.create_model_version(
        network.name,
        logged.artifact_location,
        run,
        tags,
        description=_card(Path(network.folder)),
        await_creation_for=0,
        model_id=logged.model_id,
    )

    named = [{"name": network.name, "version": int(model_version.version)}]
    client.set_logged_model_tags(logged.model_id, {VERSIONS: json.dumps(named)})
    return model_version


def _forget_unfinished(client: "MlflowClient", training: "RunInfo", network: Published) -> None:
    """Delete what a kill left between a model's first line and its version."""
    of_run = f"source_run_id = '{training.run_id}'"
    for logged in client.search_logged_models([training.experiment_id], filter_string=of_run):
        if logged.tags.get("weights") == network.weights:
            client.delete_logged_model(logged.model_id)


def _card(folder: Path) -> str:
    """Return the model card without the lines before it that are for the hub."""
    text = (folder / "README.md").read_text()
    return text.partition("\n---\n")[2].strip() if text.startswith("---\n") else text


def _evaluate(client: "MlflowClient", logged: Any) -> int:
    """Give a model its run's last evaluation; return the step of it."""
    from mlflow.entities import Metric

    latest = client.get_run(logged.source_run_id).data._metric_objs
    last = [metric for metric in latest if metric.key.startswith("eval/")]

    metrics = [
        Metric(metric.key, metric.value, metric.timestamp, metric.step, model_id=logged.model_id)
        for metric in last
    ]

    client.log_batch(logged.source_run_id, metrics=metrics)
    return max((metric.step for metric in last), default=0)


def _write(
    folder: Path, run: str, identifier: str, network: Published, config: dict[str, Any]
) -> None:
    """Write a folder as MLflow lays out a model for torch."""
    from mlflow import pyfunc
    from mlflow.models import Model
    from mlflow.models.utils import _save_example

    data = folder / "data"
    data.mkdir(parents=True)
    _link(Path(network.folder) / WEIGHTS, data / served.WEIGHTS)
    (data / "pickle_module_info.txt").write_text(READER)
    source = Path(models.__file__).parent
    shutil.copytree(source, folder / "code" / "models", ignore=_no_bytecode)

    needed = [f"{name}=={version(name).partition('+')[0]}" for name in LIBRARIES]
    (folder / "requirements.txt").write_text("\n".join(needed) + "\n")
    (folder / "python_env.yaml").write_text(PYTHON_ENV.format(python=pyfunc.PYTHON_VERSION))

    model = Model(
        artifact_path=network.variant,
        run_id=run,
        signature=_signature(config),
        model_id=identifier,
    )
    model.add_flavor("pytorch", model_data="data", pytorch_version=version("torch"), code="code")
    detector = config["network"] == "detector"  # MLflow's own loader takes one input and output
    pyfunc.add_to_model(
        model,
        loader_module=served.__name__ if detector else "mlflow.pytorch",
        data="data",
        code="code",
        python_env="python_env.yaml",
        model_config=None if detector else {"device": None},
    )
    _save_example(model, _example(config), str(folder))
    model.save(str(folder / "MLmodel"))


def _no_bytecode(folder: str, names: list[str]) -> set[str]:
    return {name for name in names if name == "__pycache__"}


def _link(source: Path, target: Path) -> None:
    """Have a file a second time without its bytes, where the two places are of one disk.

    What is published is never written to again: it is replaced, or removed.
    """
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)


def _example(config: dict[str, Any]) -> Any:
    """Return what a network takes: one image, all of it of the mean colour."""
    import numpy as np

    size = size_of(config)
    images = np.zeros((1, 3, *size), np.float32)
    if config["network"] != "detector":
        return images
    return {"images": images, "sizes": np.array([size], np.int64)}


def _signature(config: dict[str, Any]) -> Any:
    """Return the shapes of what a network takes and gives; -1 stands for any size."""
    import numpy as np
    from mlflow.models import ModelSignature
    from mlflow.types import Schema, TensorSpec

    numbers = np.dtype("float32")
    classes = config["num_classes"]
    free = TensorSpec(numbers, (-1, 3, -1, -1))

    if config["network"] == "classifier":
        fixed = TensorSpec(numbers, (-1, 3, *size_of(config)))
        return ModelSignature(Schema([fixed]), Schema([TensorSpec(numbers, (-1, classes))]))
    if config["network"] == "segmenter":
        return ModelSignature(Schema([free]), Schema([TensorSpec(numbers, (-1, classes, -1, -1))]))

    images = TensorSpec(numbers, (-1, 3, -1, -1), "images")
    sizes = TensorSpec(np.dtype("int64"), (-1, 2), "sizes")
    return ModelSignature(Schema([images, sizes]))
