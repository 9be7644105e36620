"""What digests a result is what is imported to make it; dvc.yaml says the same."""

import ast
from pathlib import Path

import numpy as np
import pytest
import yaml
from helpers import ONE_WEIGHT, PROJECT
from safetensors.numpy import save

from pipeline.params import TASKS, load
from pipeline.runs.identity import NOT_HASHED, code_of, modules, run_id
from pipeline.runs.identity import decides as decides_of
from pipeline.runs.weights import publish_weights

# Imported, but without influence on a result that the digest does not hold otherwise: parameters
# enter by value, data by the manifest's digest, weights to start from by theirs (and each name and
# shape is checked), the rest moves bytes, prints or draws.
APART = (
    "models/mixers/",
    "models/weights/",
    "pipeline/core/",
    "pipeline/params/",
    "pipeline/pictures/",
    "pipeline/project/",
    "pipeline/runs/",
    "pipeline/shards/",
    "pipeline/storage/",
)

PIXELS = "pipeline/core/pixels/"
"""Of what serves everybody, the part that makes pixels."""
USES = ("models/published/",)
"""What loads weights that are published already."""


def apart(name: str, folders: tuple[str, ...] = APART) -> bool:
    return name.startswith(folders) and not name.startswith(PIXELS)


def imported(path: Path) -> set[Path]:
    """Return the project's own modules that a file imports, lazily or not."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    own = {name for name in names if name.split(".")[0] in ("pipeline", "models")}
    candidates = [PROJECT / name.replace(".", "/") for name in own]
    return {p for c in candidates for p in (c.with_suffix(".py"), c / "__init__.py") if p.exists()}


def closure(start: list[Path], closed: tuple[str, ...] = ()) -> set[str]:
    """Return the modules that some modules import, and those import; what is `closed` is not
    opened.
    """
    found, todo = set(), start
    while todo:
        path = todo.pop()
        name = str(path.relative_to(PROJECT))
        if name not in found and not apart(name, closed):
            found.add(name)
            todo += imported(path)
    return found


MIXERS = sorted(path.stem for path in (PROJECT / "models/mixers").glob("[a-z]*.py"))
ROWS = [("classify", mixer) for mixer in MIXERS] + [
    *((task, "dwnet") for task in TASKS if task != "classify"),
    ("segment", "swin"),
]


def decides(task: str, mixer: str) -> set[str]:
    start = [
        "pipeline/training/loop.py",
        f"pipeline/tasks/{task}/logic.py",
        f"models/mixers/{mixer}.py",
    ]
    return {
        name
        for name in closure([PROJECT / name for name in start], USES)
        if not (apart(name) or name.endswith(("__init__.py", *NOT_HASHED)))
    }


def listed(task: str, mixer: str) -> set[str]:
    return {
        name
        for name in modules(PROJECT, code_of(task, mixer))
        if not (apart(name) or name.endswith(("__init__.py", *COMPILED)))
    }


COMPILED = (".c", ".cpp", ".h")
"""What no module imports: it is compiled by one that is imported."""


def test_the_digest_holds_the_sources_that_are_compiled() -> None:
    names = set(modules(PROJECT, code_of("classify", "dwnet")))
    for folder in ("models/aggregate/native", PIXELS):
        files = {file for file in (PROJECT / folder).iterdir() if file.suffix in COMPILED}
        assert files and {file.relative_to(PROJECT).as_posix() for file in files} <= names


@pytest.mark.parametrize(("task", "mixer"), ROWS)
def test_the_digest_holds_what_is_imported(task: str, mixer: str) -> None:
    assert decides(task, mixer) <= listed(task, mixer)
    assert f"models/mixers/{mixer}.py" in code_of(task, mixer)


@pytest.mark.parametrize("task", TASKS)
def test_the_digest_holds_nothing_that_no_mixer_needs(task: str) -> None:
    needed = set.union(*(decides(task, mixer) for mixer in MIXERS))
    there = set.union(*(listed(task, mixer) for mixer in MIXERS))
    assert {name for name in there - needed if not name.startswith(PIXELS)} == set()


@pytest.mark.parametrize("task", TASKS)
def test_dvc_lists_the_same_files(task: str) -> None:
    stage = yaml.safe_load((PROJECT / "dvc.yaml").read_text())["stages"][task]["do"]
    code = {
        path.replace("${item.mixer}", "MIXER")
        for path in stage["deps"]
        if path.startswith(("models/", "pipeline/"))
    }
    assert code == {*code_of(task, "MIXER"), PUBLISHING}


PUBLISHING = "pipeline/runs"
"""What only shapes the published files: a finished run is published again, and not trained."""
# Imported by a command, but without influence on what it publishes: as above, and what reaches the
# cluster and MLflow. A command itself parses and prints, except that a profile measures.
APART_OF_STAGES = (
    *USES,
    "models/weights/",
    "pipeline/cluster/",
    "pipeline/core/",
    "pipeline/params/",
    "pipeline/pictures/",
    "pipeline/project/",
    "pipeline/storage/",
    "pipeline/submission/",
    "pipeline/tracking/",
)
READING = ("pipeline/shards/",)
"""Apart for all that only read shards."""
# A command, and what it imports by name or in the processes of a cluster.
TRAINING = (
    "pipeline/training/loop.py",
    "pipeline/tasks/classify/logic.py",
    *(f"models/mixers/{mixer}.py" for mixer in MIXERS),
)
PARTS = {
    "fetch": ("pipeline/fetch.py",),
    "shard": ("pipeline/shard.py",),
    "classify": ("pipeline/train.py", "pipeline/runs/publish.py", *TRAINING),
    "detect": ("pipeline/runs/publish.py", *TRAINING[:1], "pipeline/tasks/detect/logic.py"),
    "segment": ("pipeline/runs/publish.py", *TRAINING[:1], "pipeline/tasks/segment/logic.py"),
    "profile": ("pipeline/profile.py", *TRAINING[2:]),
    "tune": ("pipeline/tune.py", *TRAINING),
    "factorial": ("pipeline/factorial.py", *TRAINING),
    "compare": ("pipeline/compare.py",),
}


def stages() -> dict[str, dict[str, list[str]]]:
    written = yaml.safe_load((PROJECT / "dvc.yaml").read_text())["stages"]
    return {verb: body.get("do", body) for verb, body in written.items()}


def test_every_stage_is_held_against_its_imports() -> None:
    assert set(PARTS) == set(stages())


@pytest.mark.parametrize("verb", PARTS)
def test_a_stage_depends_on_what_shapes_what_it_publishes(verb: str) -> None:
    deps = stages()[verb]["deps"]
    code = [dep.replace("${item.mixer}.py", "") for dep in deps if (PROJECT / dep).exists()]
    code += ["models/mixers/"] if any("${item.mixer}" in dep for dep in deps) else []
    closed = APART_OF_STAGES if verb == "shard" else (*APART_OF_STAGES, *READING)
    start = [PROJECT / name for name in PARTS[verb]]
    needed = {name for name in closure(start, closed) if not name.endswith("__init__.py")}
    commands = {name for name in PARTS[verb] if name.count("/") == 1} - {"pipeline/profile.py"}
    watched = tuple(dep if dep.endswith((".py", "/")) else f"{dep}/" for dep in code)
    assert {name for name in needed - commands if not name.startswith(watched)} == set()


def test_the_id_changes_with_what_decides_and_with_nothing_else() -> None:
    params = load(PROJECT / "params.yaml")
    name = next(iter(params.classify.variants))

    def fingerprint(*overrides: str, seed: int = 0, manifest: str = "m") -> str:
        section = load(PROJECT / "params.yaml", list(overrides)).classify
        return run_id(decides_of(PROJECT, "classify", section, name, seed, manifest, None))

    same = [
        fingerprint(),
        fingerprint("cluster.workers=1"),
        fingerprint("cluster.loader_workers=3"),
        fingerprint("tracking.uri=sqlite:///x"),
        fingerprint("profile.timed=1"),
        fingerprint("classify.seeds=[0, 5]"),
    ]
    other = [
        fingerprint(seed=1),
        fingerprint(manifest="n"),
        fingerprint("classify.recipe.optimizer.lr=0.5"),
        fingerprint("classify.recipe.micro_batch=24"),
        fingerprint(f"classify.variants.{name}.drop_path_rate=0.1"),
    ]
    assert len(set(same)) == 1
    assert len({same[0], *other}) == len(other) + 1


def test_weights_that_say_something_else_of_themselves_start_the_same_run(tmp_path: Path) -> None:
    """A classifier that is published again from another commit trains no detector anew."""
    params = load(PROJECT / "params.yaml")
    name = next(iter(params.detect.variants))
    source = tmp_path / "last.safetensors"

    def identifier(words: dict[str, str]) -> str:
        target = tmp_path / "model.safetensors"
        publish_weights(source, target, words)
        return run_id(decides_of(PROJECT, "detect", params.detect, name, 0, "m", target))

    source.write_bytes(ONE_WEIGHT)
    first = identifier({"commit": "a"})
    assert identifier({"commit": "b"}) == first
    source.write_bytes(save({"w": np.ones(1, np.float32)}))
    assert identifier({"commit": "a"}) != first
