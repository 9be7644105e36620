"""The files of deploy/ are as KubeRay, Kubernetes, Ray's launcher, shellcheck and this project want
them, and what is wrong with them would be named.
"""

import shutil
from pathlib import Path

import pytest
from deploying import complaints
from helpers import PROJECT

DEPLOY = PROJECT / "deploy"
ROOT = "runAsNonRoot: true"
MISTAKES = {
    "no token": ("kuberay/rayjob.yaml", "{mode: token}", "{mode: disabled}", "authOptions.mode"),
    "an older ray": ("kuberay/raycluster.yaml", '"2.60.0"', '"2.59.0"', "requirements.lock has"),
    "another image": ("kuberay/rayjob.yaml", ":ray-2.60.0", ":latest", "is not the one with ray"),
    "root": ("kuberay/rayjob.yaml", ROOT, "runAsNonRoot: false", "may run as root"),
    "a field of no release": (
        "kuberay/rayjob.yaml",
        "preRunningDeadlineSeconds",
        "preRunDeadlineSeconds",
        "preRunDeadlineSeconds: Extra inputs",
    ),
    "two ways to end": (
        "kuberay/rayjob.yaml",
        "  backoffLimit: 2  #",
        "  shutdownAfterJobFinishes: true\n  backoffLimit: 2  #",
        "not both",
    ),
    "a shell's words": ("kuberay/rayjob.yaml", "env --chdir=/project", "cd /project &&", "words"),
    "open to the world": (
        "kuberay/raycluster.yaml",
        "serviceType: ClusterIP",
        "serviceType: LoadBalancer",
        "serviceType",
    ),
    "a field of no pod": ("kuberay/rayjob.yaml", "tolerations:", "toleration:", "'toleration'"),
    "a type of no pod": ("kuberay/rayjob.yaml", "fsGroup: 1000", "fsGroup: staff", "'staff'"),
    "no requests": ("kuberay/rayjob.yaml", "requests: {cpu: 500m", "x: {cpu: 500m", "no requests"),
    "half the GPUs": ("kuberay/rayjob.yaml", 'gpu: "8"', 'gpu: "4"', "no room for the 8 workers"),
    "a secret in the file": (
        "kuberay/raycluster.yaml",
        "envFrom: &secrets",
        "env: [{name: RAY_AUTH_TOKEN, value: abc}]\n            envFrom: &secrets",
        "take it from a Secret",
    ),
    "a password in an address": (
        "kuberay/project.yaml",
        "# What both",
        "# https://me:secret@mlflow\n# What both",
        "holds a secret",
    ),
    "another door": (
        "kuberay/project.yaml",
        "    matchLabels: {app.kubernetes.io/part-of: demystify-local-attention}\n  policy",
        "    matchLabels: {app: demystify}\n  policy",
        "outside the door",
    ),
    "no such claim": ("kuberay/project.yaml", "demystify-project", "project", "claims no"),
    "a key of no launcher": ("launcher.yaml", "setup_commands", "setup_command", "Ray refuses it"),
    "a head without a token": (
        "launcher.yaml",
        "RAY_AUTH_MODE=token ",
        "",
        "without RAY_AUTH_MODE",
    ),
    "an option of no ray": ("launcher.yaml", "--node-ip-address", "--node-ip", "No such option"),
    "a public dashboard": (
        "slurm.sh",
        "--dashboard-host 127.0.0.1",
        "--dashboard-host 0.0.0.0",
        "listens",
    ),
    "an unquoted variable": (
        "slurm.sh",
        'cd "$SLURM_SUBMIT_DIR"',
        "cd $SLURM_SUBMIT_DIR",
        "SC2086",
    ),
    "shared nodes": ("slurm.sh", "#SBATCH --exclusive\n", "", "--exclusive"),
    "a Ray of its own": ("slurm.sh", 'env RAY_ADDRESS="$address" ', "", "a Ray of its own"),
    "a token for all": ("slurm.sh", "umask 077", "umask 022", "readable by others"),
    "no lock": ("Dockerfile", "-r /tmp/requirements.lock", "ray", "does not install requirements"),
    "a moving base": (
        "Dockerfile",
        "python:3.11.14-slim-bookworm",
        "python:3",
        "the whole version",
    ),
    "an image of root": ("Dockerfile", "USER 1000:1000\n", "", "runs as root"),
}


def test_nothing_is_wrong() -> None:
    assert complaints(DEPLOY) == []


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_named(mistake: str, tmp_path: Path) -> None:
    name, right, wrong, said = MISTAKES[mistake]
    copy = shutil.copytree(DEPLOY, tmp_path / "deploy")
    text = (copy / name).read_text()
    assert right in text
    (copy / name).write_text(text.replace(right, wrong))
    found = complaints(copy)
    assert any(said in each for each in found), found
