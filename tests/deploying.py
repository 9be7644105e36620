"""What must hold of the files in deploy/, as sentences about what does not.

`complaints(folder)` reads copies of the files, so that tests can plant mistakes in them.
"""

import json
import re
import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal

import click
import kubernetes_validate
import yaml
from helpers import PROJECT
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from pydantic.alias_generators import to_camel
from ray.autoscaler._private.util import prepare_config, validate_config
from ray.scripts.scripts import start

from pipeline.params import load

KUBERNETES = "1.31"
"""What the manifests are checked against; newer ones accept the same."""
SECRET_NAME = re.compile(r"TOKEN|PASSWORD|SECRET|(ACCESS|PRIVATE)_KEY|CREDENTIAL", re.IGNORECASE)
SECRET_VALUE = re.compile(r"://[^/\s:@]+:[^/\s@]+@|BEGIN [A-Z ]*PRIVATE KEY|AKIA[0-9A-Z]{16}")
LOCKED_RAY = re.search(r"^ray==(\S+)", (PROJECT / "requirements.lock").read_text(), re.MULTILINE)[1]  # type: ignore[index]

Positive = Annotated[int, Field(gt=0)]
NotNegative = Annotated[int, Field(ge=0)]


class Strict(BaseModel):
    """A part of a manifest, with the fields of KubeRay 1.7 and no other."""

    model_config = ConfigDict(
        extra="forbid", strict=True, alias_generator=to_camel, populate_by_name=False
    )


class Auth(Strict):
    mode: Literal["token"]
    secret_name: str | None = None


class Condition(Strict):
    job_status: Literal["SUCCEEDED", "FAILED"] | None = None
    job_deployment_status: Literal["Failed"] | None = None
    ttl_seconds: NotNegative = 0

    @model_validator(mode="after")
    def one(self) -> "Condition":
        if (self.job_status is None) == (self.job_deployment_status is None):
            raise ValueError("give exactly one of jobStatus and jobDeploymentStatus")
        return self


class Rule(Strict):
    policy: Literal["DeleteCluster", "DeleteWorkers", "DeleteSelf", "DeleteNone"]
    condition: Condition


class Deletion(Strict):
    deletion_rules: Annotated[list[Rule], Field(min_length=1)]  # the other fields are deprecated


class Head(Strict):
    service_type: Literal["ClusterIP"]  # nothing outside the cluster reaches it
    enable_ingress: Literal[False] = False
    ray_start_params: dict[str, str]
    resources: dict[str, str] | None = None
    labels: dict[str, str] | None = None
    template: dict[str, Any]


class Workers(Strict):
    group_name: str
    replicas: NotNegative
    min_replicas: NotNegative
    max_replicas: Positive
    num_of_hosts: Positive = 1
    idle_timeout_seconds: Positive | None = None
    priority: int | None = None
    ray_start_params: dict[str, str]
    resources: dict[str, str] | None = None
    labels: dict[str, str] | None = None
    template: dict[str, Any]


class ClusterSpec(Strict):
    ray_version: str
    auth_options: Auth
    enable_in_tree_autoscaling: bool = False
    autoscaler_options: dict[str, Any] | None = None
    head_service_annotations: dict[str, str] | None = None
    gcs_fault_tolerance_options: dict[str, Any] | None = None
    tls_options: dict[str, Any] | None = None
    network_policy: dict[str, Any] | None = None
    upgrade_strategy: dict[str, Any] | None = None
    suspend: bool = False
    managed_by: str | None = None
    head_group_spec: Head
    worker_group_specs: Annotated[list[Workers], Field(min_length=1)]


class SubmitterConfig(Strict):
    backoff_limit: NotNegative


class JobSpec(Strict):
    entrypoint: str
    submission_mode: Literal["K8sJobMode", "HTTPMode", "SidecarMode"] = "K8sJobMode"
    backoff_limit: NotNegative
    pre_running_deadline_seconds: Positive
    active_deadline_seconds: Positive | None = None
    deletion_strategy: Deletion | None = None
    shutdown_after_job_finishes: bool = False
    ttl_seconds_after_finished: NotNegative = 0
    submitter_config: SubmitterConfig | None = None
    submitter_pod_template: dict[str, Any] | None = None
    ray_cluster_spec: ClusterSpec
    runtime_env: str | None = Field(None, alias="runtimeEnvYAML")
    job_id: str | None = None
    metadata: dict[str, str] | None = None
    entrypoint_num_cpus: float | None = None
    entrypoint_num_gpus: float | None = None
    entrypoint_resources: str | None = None
    suspend: bool = False
    managed_by: str | None = None

    @model_validator(mode="after")
    def ends_in_one_way(self) -> "JobSpec":
        other = self.shutdown_after_job_finishes or self.ttl_seconds_after_finished
        if (self.deletion_strategy is None) == (not other):
            raise ValueError("deletionRules, or shutdownAfterJobFinishes and a ttl, not both")
        return self

    @model_validator(mode="after")
    def words_only(self) -> "JobSpec":
        if set("&|;<>$`\"'\n") & set(self.entrypoint.strip()):
            raise ValueError("entrypoint is pasted into a shell of the submitter: words only")
        return self


class Metadata(Strict):
    name: Annotated[str, Field(pattern=r"^[a-z]([-a-z0-9]{0,45}[a-z0-9])?$")]
    labels: dict[str, str] | None = None


class Job(Strict):
    api_version: Literal["ray.io/v1"]
    kind: Literal["RayJob"]
    metadata: Metadata
    spec: JobSpec


class Cluster(Strict):
    api_version: Literal["ray.io/v1"]
    kind: Literal["RayCluster"]
    metadata: Metadata
    spec: ClusterSpec


def complaints(folder: Path) -> list[str]:
    """Return what is wrong with the files of a copy of deploy/, each as `FILE: what`."""
    checks = {
        "kuberay/rayjob.yaml": job,
        "kuberay/raycluster.yaml": cluster,
        "kuberay/project.yaml": door,
        "launcher.yaml": launcher,
        "slurm.sh": slurm,
        "Dockerfile": dockerfile,
    }
    found = [f"{name}: {what}" for name, check in checks.items() for what in check(folder / name)]
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        name = str(path.relative_to(folder))
        if name not in checks:
            found.append(f"{name}: nothing checks this file")
        if SECRET_VALUE.search(path.read_text()):
            found.append(f"{name}: holds a secret")
    return found


def job(path: Path) -> Iterator[str]:
    manifest = yaml.safe_load(path.read_text())
    yield from _outer(Job, manifest)
    spec = manifest["spec"]
    yield from _group(spec["rayClusterSpec"], path)
    yield from _pod("submitter", spec["submitterPodTemplate"], path)
    module = re.search(r"-m pipeline\.(\w+)", spec["entrypoint"])
    if module is None or not (PROJECT / "pipeline" / f"{module[1]}.py").exists():
        yield f"entrypoint runs no command of the project: {spec['entrypoint']}"


def cluster(path: Path) -> Iterator[str]:
    manifest = yaml.safe_load(path.read_text())
    yield from _outer(Cluster, manifest)
    yield from _group(manifest["spec"], path)
    beside = yaml.safe_load((path.parent / "rayjob.yaml").read_text())
    if manifest["spec"] != beside["spec"]["rayClusterSpec"]:
        yield "the cluster is not the one of rayjob.yaml"


def door(path: Path) -> Iterator[str]:
    for manifest in yaml.safe_load_all(path.read_text()):
        yield from _kubernetes(manifest)
    if "Ingress" not in _policy(path)["policyTypes"]:
        yield "the door keeps nobody out"


def _outer(model: type[BaseModel], manifest: dict[str, Any]) -> Iterator[str]:
    try:
        model.model_validate(manifest)
    except ValidationError as error:
        for each in error.errors():
            yield f"{'.'.join(map(str, each['loc']))}: {each['msg']}"


_refusals: dict[str, str] = {}
"""What Kubernetes says of a manifest, or nothing; most are the same in every copy of deploy/."""


def _kubernetes(manifest: dict[str, Any]) -> Iterator[str]:
    known = repr(manifest)
    if known not in _refusals:
        _refusals[known] = _refusal(manifest)
    if _refusals[known]:
        yield _refusals[known]


def _refusal(manifest: dict[str, Any]) -> str:
    try:
        kubernetes_validate.validate(manifest, KUBERNETES, strict=True)
    except kubernetes_validate.ValidationError as error:
        return f"{manifest['kind']}: {error}"
    return ""


def _policy(path: Path) -> dict[str, Any]:
    (policy,) = (
        manifest["spec"]
        for manifest in yaml.safe_load_all(path.read_text())
        if manifest["kind"] == "NetworkPolicy"
    )
    return dict(policy)


def _group(spec: dict[str, Any], path: Path) -> Iterator[str]:
    """Check the pods of a cluster, and that the paper's workers have room in it."""
    if spec.get("rayVersion") != LOCKED_RAY:
        yield f"rayVersion is {spec.get('rayVersion')}, requirements.lock has {LOCKED_RAY}"
    yield from _pod("head", spec["headGroupSpec"]["template"], path)
    gpus = cpus = 0
    for group in spec["workerGroupSpecs"]:
        yield from _pod(group["groupName"], group["template"], path)
        requests = (
            group["template"]["spec"]["containers"][0].get("resources", {}).get("requests", {})
        )
        gpus += group["replicas"] * int(requests.get("nvidia.com/gpu", 0))
        cpus += group["replicas"] * int(requests.get("cpu", 0))
    yield from _room(gpus, cpus)


def _room(gpus: int, cpus: int) -> Iterator[str]:
    paper = load(PROJECT / "params" / "paper.yaml").cluster
    assert paper.gpus_per_worker != "auto" and isinstance(paper.workers, int)
    if gpus < paper.workers * paper.gpus_per_worker:
        yield f"{gpus} GPUs have no room for the {paper.workers} workers of params/paper.yaml"
    if cpus < paper.workers * paper.cpus_per_worker:
        yield f"{cpus} CPUs have no room for the {paper.workers} workers of params/paper.yaml"


def _pod(name: str, template: dict[str, Any], path: Path) -> Iterator[str]:
    pod = {"apiVersion": "v1", "kind": "Pod", **template}
    yield from (f"{name}: {what}" for what in _kubernetes(pod))
    yield from (f"{name}: {what}" for what in _closed(template, path))
    for container in template["spec"]["containers"]:
        yield from (f"{name}: {what}" for what in _container(container))


def _closed(template: dict[str, Any], path: Path) -> Iterator[str]:
    spec = template["spec"]
    context = spec.get("securityContext", {})
    if context.get("runAsNonRoot") is not True or not context.get("runAsUser"):
        yield "may run as root"
    if spec.get("automountServiceAccountToken") is not False:
        yield "is given a token of the Kubernetes API"
    if {"hostNetwork", "hostPID", "hostIPC"} & spec.keys():
        yield "shares the host's network or processes"
    volumes = {volume["name"]: volume for volume in spec.get("volumes", [])}
    if any("hostPath" in volume for volume in volumes.values()):
        yield "mounts a folder of the host"
    for mount in (m for c in spec["containers"] for m in c.get("volumeMounts", [])):
        if mount["name"] not in volumes:
            yield f"mounts {mount['name']}, which is no volume"

    shared = list(yaml.safe_load_all((path.parent / "project.yaml").read_text()))
    claims = {m["metadata"]["name"] for m in shared if m["kind"] == "PersistentVolumeClaim"}
    for volume in volumes.values():
        claim = volume.get("persistentVolumeClaim", {}).get("claimName")
        if claim not in claims | {None}:
            yield f"project.yaml claims no {claim}"
    labels = template.get("metadata", {}).get("labels", {})
    if (
        not _policy(path.parent / "project.yaml")["podSelector"]["matchLabels"].items()
        <= labels.items()
    ):
        yield "stands outside the door of project.yaml"


def _container(container: dict[str, Any]) -> Iterator[str]:
    context = container.get("securityContext", {})
    if context.get("allowPrivilegeEscalation") is not False or context.get("privileged"):
        yield "may become root"
    if context.get("capabilities") != {"drop": ["ALL"]}:
        yield "keeps capabilities"
    if not container["image"].endswith(f"demystify-local-attention:ray-{LOCKED_RAY}"):
        yield f"the image {container['image']} is not the one with ray {LOCKED_RAY} of requirements.lock"
    for kind in ("requests", "limits"):
        if not {"cpu", "memory"} <= container.get("resources", {}).get(kind, {}).keys():
            yield f"has no {kind} of cpu and memory"
    for variable in container.get("env", []):
        if SECRET_NAME.search(variable["name"]) and "value" in variable:
            yield f"{variable['name']} stands in the file; take it from a Secret"
    if any("hostPort" in port for port in container.get("ports", [])):
        yield "opens a port of the host"


def launcher(path: Path) -> Iterator[str]:
    config = yaml.safe_load(path.read_text())
    try:
        validate_config(prepare_config(config))
    except Exception as error:  # jsonschema's, or whatever Ray's reader stumbles over
        yield f"Ray refuses it: {str(error).splitlines()[0]}"
    if config["auth"].get("ssh_user", "root") == "root":
        yield "logs in as root"
    if "~/.ray/auth_token" not in config.get("file_mounts", {}):
        yield "the machines have no token"
    for key in ("head_start_ray_commands", "worker_start_ray_commands"):
        starts = [line for line in config.get(key, []) if "ray start" in line]
        if not starts:
            yield f"{key} starts no Ray"
        for line in starts:
            before, _, options = line.partition("ray start")
            if "RAY_AUTH_MODE=token" not in before:
                yield f"{key}: Ray is started without RAY_AUTH_MODE=token"
            yield from (f"{key}: {what}" for what in _start_options(shlex.split(options)))
    if not any(
        line.endswith(" setup") and "make" in line for line in config.get("setup_commands", [])
    ):
        yield "the environment is not made of requirements.lock (make setup)"


def _start_options(options: list[str]) -> Iterator[str]:
    """Check options of `ray start` with Ray's own reader; the dashboard stays on loopback."""
    try:
        context = start.make_context("ray start", list(options))
    except click.ClickException as error:
        yield f"ray start: {error.format_message()}"
        return
    if context.params["dashboard_host"] not in ("localhost", "127.0.0.1"):
        yield f"the dashboard listens on {context.params['dashboard_host']}"


def slurm(path: Path) -> Iterator[str]:
    done = subprocess.run(
        ["shellcheck", "--severity=style", "--format=json", path], capture_output=True, text=True
    )
    for each in json.loads(done.stdout):
        yield f"line {each['line']}: SC{each['code']} {each['message']}"
    text = path.read_text()
    options = dict(re.findall(r"^#SBATCH --([a-z-]+)=?(\S*)$", text, re.MULTILINE))
    if "exclusive" not in options:
        yield "nodes are shared, and `ray symmetric-run` ends every Ray of yours on them: --exclusive"
    if unknown := options.keys() - SBATCH:
        yield f"sbatch has no {sorted(unknown)}"
    nodes = int(options["nodes"])
    yield from _room(nodes * int(options["gpus-per-node"]), nodes * int(options["cpus-per-task"]))
    code = [line for line in text.splitlines() if not line.startswith("#")]
    first = next(i for i, line in enumerate(code) if re.search(r"\bray\b", line.partition("#")[0]))
    if not any("RAY_AUTH_MODE=token" in line for line in code[: first + 1]):
        yield "Ray is started without RAY_AUTH_MODE=token"
    if not any(line.startswith("umask 077") for line in code[:first]):
        yield "the token would be readable by others (umask 077)"
    yield from _symmetric_run("\n".join(code))


SBATCH = {
    "job-name", "nodes", "ntasks-per-node", "exclusive", "gpus-per-node", "cpus-per-task", "mem",
    "time", "requeue", "open-mode", "output", "partition", "account", "qos", "constraint",
}  # fmt: skip
"""Options of sbatch that such a script may use."""


def _symmetric_run(code: str) -> Iterator[str]:
    line = re.search(r"^srun .*?[^\\]$", code, re.MULTILINE | re.DOTALL)
    if line is None or "ray symmetric-run" not in line[0]:
        yield "srun starts no `ray symmetric-run`"
        return
    plain = re.sub(r"\$\{?\w+(:-\w+)?\}?", "1", line[0].replace("\\\n", " "))
    words = shlex.split(plain)
    if "--cpus-per-task=1" not in words:
        yield "srun does not take over --cpus-per-task by itself"
    options = words[words.index("symmetric-run") + 1 : words.index("--")]
    command = words[words.index("--") + 1 :]
    for own in ("--address", "--min-nodes"):
        if own not in options:
            yield f"ray symmetric-run is not told {own}"
        else:
            del options[options.index(own) : options.index(own) + 2]
    yield from _start_options(["--head", *options])
    if not any(word.startswith("RAY_ADDRESS=") for word in command):
        yield "the command would start a Ray of its own: RAY_ADDRESS"


def dockerfile(path: Path) -> Iterator[str]:
    text = path.read_text().replace("\\\n", " ")
    steps = [line.split(maxsplit=1) for line in text.splitlines() if line and line[0] != "#"]
    images = [what for step, what in steps if step == "FROM"]
    for image in images:
        if not re.fullmatch(r"[\w./-]+:\d+\.\d+\.\d+-[\w.-]+(@sha256:[0-9a-f]{64})?", image):
            yield f"FROM {image}: give the whole version"
    users = [what for step, what in steps if step == "USER"]
    if not users or not re.match(r"[1-9]\d*(:[1-9]\d*)?$", users[-1]):
        yield "runs as root (USER with a number, which Kubernetes can check)"
    runs = [what for step, what in steps if step == "RUN"]
    installs = [what for what in runs if re.search(r"\bpip install\b", what)]
    for words in (shlex.split(part) for what in installs for part in what.split("&&")):
        if "install" not in words or "apt-get" in words:
            continue
        given = [word for word in words[words.index("install") + 1 :] if not word.startswith("-")]
        loose = [
            word for word in given if "==" not in word and not word.endswith("requirements.lock")
        ]
        if loose:
            yield f"installs {', '.join(loose)} without a version"
    if not any("-r /tmp/requirements.lock" in what for what in installs):
        yield "does not install requirements.lock"
    variables = " ".join(what for step, what in steps if step in ("ENV", "ARG"))
    if "RAY_AUTH_MODE=token" not in variables.split():
        yield "Ray is started without RAY_AUTH_MODE=token"
    for name in re.findall(r"(\w+)=", variables):
        if SECRET_NAME.search(name):
            yield f"{name} would stay in the image"
    if any(step == "ADD" or "curl" in what for step, what in steps):
        yield "takes files from the network that nothing checks"
    tags = re.findall(r"demystify-local-attention:ray-(\S+)", path.read_text())
    if tags != [LOCKED_RAY]:
        yield f"is tagged {tags}, requirements.lock has {LOCKED_RAY}"
