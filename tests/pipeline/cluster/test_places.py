"""Whether a group of workers fits, by the nodes; waiting for a place in one sentence."""

import threading
import time
from typing import Any

import pytest

from pipeline.cluster import places
from pipeline.cluster.elastic import FollowingNodes
from pipeline.cluster.places import find_place, fitting
from pipeline.core.errors import UserError
from pipeline.params import Cluster


def test_a_worker_is_on_one_node() -> None:
    two = {"a": {"CPU": 4.0, "GPU": 1.0}, "b": {"CPU": 3.0, "GPU": 4.0}}
    assert fitting(two, {"CPU": 1.0}) == 7
    assert fitting(two, {"CPU": 2.0}) == 3
    assert fitting(two, {"CPU": 1.0, "GPU": 1.0}) == 4
    assert fitting(two, {"CPU": 0.1}) == 70
    assert fitting(two, {"CPU": 5.0}) == 0


@pytest.mark.parametrize(
    ("nodes", "cluster", "said"),
    [
        ({"a": 2.0}, {"workers": 3}, "3 workers need 3 CPU, the Ray cluster has 2; lower"),
        (
            {"a": 2.0, "b": 2.0},
            {"workers": 1, "cpus_per_worker": 3},
            "1 workers of 3 CPU each are needed, the nodes of the Ray cluster hold 0; lower",
        ),
    ],
)
def test_what_never_fits_is_said_at_once(
    monkeypatch: pytest.MonkeyPatch, nodes: dict[str, float], cluster: dict[str, Any], said: str
) -> None:
    monkeypatch.setattr(places, "nodes", lambda: {name: {"CPU": n} for name, n in nodes.items()})
    monkeypatch.setattr("ray.cluster_resources", lambda: {"CPU": sum(nodes.values())})
    began = time.monotonic()
    with pytest.raises(UserError, match=said):
        find_place(Cluster(**cluster), 1)
    assert time.monotonic() - began < 5


def test_a_busy_cluster_is_waited_for_in_one_sentence(
    ray_cluster: None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import ray

    class Other:
        def here(self) -> bool:
            return True

    monkeypatch.setattr(places, "SETTLE_S", 1.0)
    other = ray.remote(num_cpus=3)(Other).remote()
    assert ray.get(other.here.remote())
    found: list[int] = []
    waits = threading.Thread(
        target=lambda: found.append(find_place(Cluster(workers=2), 2)), daemon=True
    )
    waits.start()
    said, deadline = "", time.monotonic() + 20
    while not said and time.monotonic() < deadline:
        waits.join(0.2)
        said = capsys.readouterr().out
    waits.join(2 * places.POLL_S)
    assert waits.is_alive() and not found
    said += capsys.readouterr().out
    assert said == (
        "waiting for a place: 2 workers of 1 CPU each are needed, the Ray cluster has room for 1 "
        "now\n"
    )
    ray.kill(other)
    waits.join(20)
    assert found == [2]


def test_a_group_is_as_large_as_it_may_be_and_divides_a_step() -> None:
    from ray.train import ScalingConfig

    policy = FollowingNodes(ScalingConfig(num_workers=(2, 8)), [2, 3, 4, 6])
    for cpus, size in ((1, 0), (2, 2), (5, 4), (7, 6), (9, 6)):
        assert policy._count_possible_workers({"a": {"CPU": cpus}}) == size, cpus
