"""Links to MLflow's pages, without the secrets of an address."""

from typing import Any

import pytest

from pipeline.params import Tracking
from pipeline.report.tracked import SERVED, tracked
from pipeline.tracking.pages import run_address

RUN = "ab" * 16


@pytest.mark.parametrize(
    ("uri", "address"),
    [
        ("https://mlflow.example.org", "https://mlflow.example.org"),
        ("http://10.0.0.1:5001/prefix/", "http://10.0.0.1:5001/prefix"),
        (
            "https://ada:s3cret@mlflow.example.org:8443/x?token=s3cret#s3cret",
            "https://mlflow.example.org:8443/x",
        ),
        ("http://[::1]:5000", "http://[::1]:5000"),
        ("https://mlflow.example.org/a b)c", "https://mlflow.example.org/a%20b%29c"),
    ],
)
def test_a_server_is_linked_without_its_secrets(uri: str, address: str) -> None:
    found = tracked(Tracking(uri=uri))
    assert (found.address, found.local) == (address, False)
    assert found.link(RUN, "a run") == f"[a run]({run_address(address, RUN)})"


@pytest.mark.parametrize(
    "uri",
    [
        "https://ada:s3/cret@host",
        "https://ada:33/cret@host",
        "https://ada:33?cret@host",
        "https://ada:3#cret@host",
        "http://",
    ],
)
def test_an_address_whose_password_has_no_clear_end_is_not_shown(uri: str) -> None:
    found = tracked(Tracking(uri=uri))
    assert found.address is None
    assert "cret" not in found.explained.replace("secret", "") + found.link(RUN, "a run")
    assert found.link(RUN, "a run") == f"a run (`{RUN}`)"


@pytest.mark.parametrize(
    "uri", [None, "sqlite:////home/mlflow.db", "postgresql://ada:s3cret@host/db"]
)
def test_a_local_store_is_linked_where_make_ui_serves_it(
    uri: str | None,
) -> None:
    found = tracked(Tracking(uri=uri))
    assert (found.address, found.local) == (SERVED, True)
    assert "`make ui`" in found.explained
    assert "s3cret" not in found.explained


def test_the_environment_wins(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "https://ada:s3cret@there")
    assert tracked(Tracking(uri="https://elsewhere")).address == "https://there"


@pytest.mark.parametrize("identifier", ["x](http://evil) [y", "AB" * 16, "ab" * 15])
def test_what_is_no_run_id_is_no_link(identifier: str) -> None:
    assert tracked(Tracking()).link(identifier, "a run") == f"a run (`{identifier}`)"


def test_no_secret_gets_into_the_report(laptop: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "https://ada:s3cret@mlflow.example.org/?token=s3cret")
    laptop.factorial()
    text = "".join(laptop.texts().values())
    assert "https://mlflow.example.org/#/experiments/0/runs/" in text
    assert not {"s3cret", "ada:"} & {word for word in ("s3cret", "ada:") if word in text}


def test_mlflow_has_the_page_that_links_lead_to() -> None:
    """And the view that they ask for, in the browser's half of the installed MLflow."""
    import mlflow.server

    scripts = (mlflow.server.__file__ or "").replace("__init__.py", "js/build/static/js")
    from pathlib import Path

    texts = [path.read_text() for path in Path(scripts).glob("*.js")]
    for word in ("/experiments/:experimentId/runs/:runUuid", "workflowType", "viewStateShareKey"):
        assert any(word in text for text in texts), word
    assert any('MACHINE_LEARNING="machine_learning"' in text for text in texts)


def test_a_report_for_readers_elsewhere_links_to_no_server(
    laptop: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = laptop.root / "params.yaml"
    assert f"]({SERVED}" in laptop.text()
    path.write_text(path.read_text() + "compare: {links: false}\n")
    for uri in ("", "https://mlflow.example.org"):
        monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
        text = laptop.text()
        assert "MLflow is where the runs were made; runs are named by their MLflow ids." in text
        assert "mlflow.example" not in text and SERVED not in text
