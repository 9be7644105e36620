"""Whatever state MLflow's store is in, a command uses it or says in one sentence what is wrong,
without secrets.
"""

import os
import random
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from contextlib import closing, suppress
from pathlib import Path

import pytest
from helpers import PROJECT
from killing import wait_for

from pipeline.core.errors import UserError, discreet
from pipeline.runs.spool import Spool
from pipeline.tracking.database import connect, sqlite_file
from pipeline.tracking.entry import Entry, EntryFile, State, Store
from pipeline.tracking.shipper import Shipping

AT_ONCE = """
import multiprocessing, sys
from pathlib import Path
from pipeline.core import environment; environment.prepare()
import mlflow.store.tracking.sqlalchemy_store
from pipeline.runs.spool import Spool
from pipeline.tracking.entry import Entry, EntryFile, Store
from pipeline.tracking.shipper import Shipping

uri, clones, each, rows = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])

def work(begin, storage, name):
    file = EntryFile(storage, storage / name, "classify")
    entry = Entry(store="there", experiment="classify", run_id=name, name=name, status="RUNNING", tags={}, params={})
    file.write(entry)
    begin.wait()
    shipping = Shipping(Store(uri, "there"), storage)
    spool = Spool(file.spool, 0, rows)
    for step in range(1, rows + 1):
        spool.write_evaluation({"step": step, "epoch": 1.0, "loss": 1.0, "top1": float(step)})
        assert shipping.round() is None
    file.write(entry.model_copy(update={"status": "FINISHED"}))
    shipping.waited_for = lambda: None
    assert shipping.round() is None
    assert file.settled()

forks = multiprocessing.get_context("fork")
begin = forks.Barrier(clones * each)
storages = [Path(sys.argv[5]) / f"clone{number}" / "runs" for number in range(clones)]
places = [(storage, f"run{number}") for storage in storages for number in range(each)]
processes = [forks.Process(target=work, args=(begin, *place)) for place in places]
for process in processes:
    process.start()
for process in processes:
    process.join()
raise SystemExit(sum(process.exitcode != 0 for process in processes))
"""


def at_once(folder: Path, clones: int, each: int, rows: int) -> None:
    """Let processes of several clones use one fresh database at the same moment, and look at what
    they made.

    Each process of a clone trains another run; the clones train the same ones.
    """
    uri = f"sqlite:///{folder / 'mlflow.db'}"
    words = [uri, str(clones), str(each), str(rows), str(folder)]
    environment = {**os.environ, "PYTHONPATH": str(PROJECT)}
    done = subprocess.run(
        [sys.executable, "-c", AT_ONCE, *words], env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-3000:]
    recorded(uri, each, rows)


def recorded(uri: str, runs: int, rows: int) -> None:
    """Check that there is one MLflow run for each run, finished, with each step once."""
    client = connect(uri)
    place = client.get_experiment_by_name("classify").experiment_id
    made = client.search_runs([place])
    assert sorted(run.data.tags["run_id"] for run in made) == sorted(
        f"run{number}" for number in range(runs)
    )
    assert {run.info.status for run in made} == {"FINISHED"}
    for run in made:
        steps = [point.step for point in client.get_metric_history(run.info.run_id, "eval/top1")]
        assert sorted(steps) == list(range(1, rows + 1))


def test_processes_of_two_clones_share_one_fresh_database(tmp_path: Path) -> None:
    at_once(tmp_path, clones=2, each=2, rows=2)


@pytest.mark.faults
def test_sixteen_processes_of_two_clones_share_one_fresh_database(tmp_path: Path) -> None:
    at_once(tmp_path, clones=2, each=8, rows=10)


@pytest.mark.parametrize(
    "sent", [signal.SIGKILL, pytest.param(signal.SIGINT, marks=pytest.mark.faults)]
)
def test_a_database_whose_maker_was_ended_is_made_by_the_next_command(
    tmp_path: Path, sent: signal.Signals
) -> None:
    uri, marker = f"sqlite:///{tmp_path / 'mlflow.db'}", tmp_path / "met"
    code = f"from pipeline.tracking.database import connect; connect({uri!r})"
    fault = {"PYTHONPATH": str(PROJECT), "PIPELINE_FAULT": f"database.made do=wait once={marker}"}
    maker = subprocess.Popen(
        [sys.executable, "-c", code], env={**os.environ, **fault}, stderr=subprocess.DEVNULL
    )
    wait_for(marker, maker)
    assert not (tmp_path / "mlflow.db").exists(), (
        "half a database must not have the name of a whole one"
    )
    maker.send_signal(sent)
    maker.wait()
    connect(uri)
    assert [path.name for path in tmp_path.iterdir() if path.suffix == ".tmp"] == []


def write(folder: Path, name: str, status: State, *steps: int) -> None:
    """Let a run come to some steps."""
    file = EntryFile(folder / "runs", folder / "runs" / name, "classify")
    entry = Entry(
        store="there",
        experiment="classify",
        run_id=name,
        name=name,
        status=status,
        tags={},
        params={"lr": 0.1},
    )
    file.write(entry)
    spool = Spool(file.spool, 0, 10)
    for step in steps:
        spool.write_evaluation({"step": step, "epoch": 1.0, "loss": 1.0})


def ship(folder: Path) -> str | None:
    """Ship what there is; return the sentence that it ends with, if it does."""
    store = Store(f"sqlite:///{folder / 'mlflow.db'}", "there")
    refusal = Shipping(store, folder / "runs").round()
    return None if refusal is None else str(refusal)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A database with a run that is training, and one that is finished."""
    folder = tmp_path_factory.mktemp("whole")
    write(folder, "run0", "RUNNING", 0, 1, 2)
    write(folder, "run1", "FINISHED", 0, 1, 2)
    assert ship(folder) is None
    return (folder / "mlflow.db").read_bytes()


HALF = (
    "DROP TABLE latest_metrics",
    "DROP TABLE alembic_version; DROP TABLE runs; DROP TABLE tags; DROP TABLE params",
    "CREATE TABLE _alembic_tmp_latest_metrics (key TEXT)",
    "DELETE FROM alembic_version",
    "UPDATE alembic_version SET version_num = 'cf' || version_num",
    "UPDATE experiments SET lifecycle_stage = 'deleted'",
    "UPDATE runs SET status = 'ODD'",
    "UPDATE runs SET lifecycle_stage = 'deleted'",
    "UPDATE runs SET start_time = NULL, experiment_id = 77",
    "DELETE FROM experiments",
    "UPDATE metrics SET value = 'x', step = NULL",
)


def use(folder: Path, capsys: pytest.CaptureFixture[str]) -> str | None:
    """Do what a training does with a store; return what it says."""
    write(folder, "run0", "FINISHED", 0, 1, 2, 7)
    sentence = ship(folder)
    return sentence or capsys.readouterr().out or None


def mutate(content: bytes, folder: Path, draw: random.Random) -> str:
    """Write a database that somebody or something was at; return what was done to it."""
    file = folder / "mlflow.db"
    file.write_bytes(content)
    kind = draw.choice(("cut", "flip", "garbage", "sql", "sql", "table", "table", "row", "folder"))
    if kind == "cut":
        file.write_bytes(content[: draw.randrange(len(content))])
    elif kind == "flip":
        wrong = bytearray(content)
        for _ in range(draw.choice((1, 10, 1000))):
            wrong[draw.randrange(len(wrong))] ^= 1 << draw.randrange(8)
        file.write_bytes(wrong)
    elif kind == "garbage":
        file.write_bytes(draw.randbytes(draw.choice((0, 1, 100, 5000))))
    elif kind == "folder":
        file.unlink()
        file.mkdir()
    else:
        with closing(sqlite3.connect(file, isolation_level=None)) as base:
            names = [
                row[0]
                for row in base.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
            ]
            if kind == "sql":
                for statement in draw.sample(HALF, draw.choice((1, 1, 2))):
                    kind += f"; {statement}"
                    try_all(base, statement)
            else:
                name = draw.choice(names)
                kind += f" {name}"
                try_all(
                    base,
                    f"DROP TABLE {name}" if kind.startswith("table") else f"DELETE FROM {name}",
                )
    return kind


def try_all(base: sqlite3.Connection, statement: str) -> None:
    with suppress(sqlite3.Error):
        base.executescript(statement)


def check_mutations(
    whole: bytes, folder: Path, seeds: range, capsys: pytest.CaptureFixture[str]
) -> None:
    """Use mutated databases; nothing but a sentence may come of it, and soon."""
    slow = []
    for seed in seeds:
        place = folder / str(seed)
        place.mkdir()
        done = mutate(whole, place, random.Random(seed))
        started = time.process_time()
        sentence = use(place, capsys)
        if time.process_time() - started > 5:
            slow.append((seed, done))
        if sentence is not None:
            assert (
                sentence.count("\n") <= 3 and "Traceback" not in sentence and len(sentence) < 900
            ), (
                seed,
                done,
                sentence,
            )
    assert slow == []


def test_a_database_that_something_was_at_is_used_or_named(
    whole: bytes, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    check_mutations(whole, tmp_path, range(6), capsys)


@pytest.mark.faults
def test_five_hundred_databases_that_something_was_at(
    whole: bytes, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    check_mutations(whole, tmp_path, range(500), capsys)


def test_half_a_database_of_an_earlier_version_is_set_aside(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A kill used to leave this, and every later command failed until somebody deleted it."""
    file = tmp_path / "mlflow.db"
    with closing(sqlite3.connect(file, isolation_level=None)) as base:
        base.executescript(
            "CREATE TABLE experiments (name TEXT); CREATE TABLE _alembic_tmp_latest_metrics "
            "(key TEXT);"
        )
    connect(f"sqlite:///{file}")
    assert "was never finished" in capsys.readouterr().out
    assert len(list(tmp_path.glob("mlflow.db.incomplete-*"))) == 1


def test_a_locked_database_is_named_soon(whole: bytes, tmp_path: Path) -> None:
    (tmp_path / "mlflow.db").write_bytes(whole)
    with closing(sqlite3.connect(tmp_path / "mlflow.db", isolation_level=None)) as base:
        base.execute("BEGIN EXCLUSIVE")
        with pytest.raises(UserError, match=r"mlflow\.db is locked by another program; close it"):
            connect(f"sqlite:///{tmp_path / 'mlflow.db'}")


SECRET = "canaryuser", "CANARYPW", "CANARYTOKEN"


@pytest.mark.parametrize(
    ("uri", "sentence"),
    [
        ("http://canaryuser:CANARYPW@127.0.0.1:9", "does not answer: no connection"),
        (
            "http://canaryuser:CANARYPW@127.0.0.1:9/path?token=CANARYTOKEN",
            "does not answer: no connection",
        ),
        ("http://canaryuser:CANARY@PW/x@127.0.0.1:9", ""),
        ("postgresql+nodriver://canaryuser:CANARYPW@127.0.0.1:9/db", ""),
        (
            "oracle://canaryuser:CANARYPW@127.0.0.1:9/db",
            "needs the Python package oracledb, which is not installed",
        ),
        ("nonsense://canaryuser:CANARYPW@127.0.0.1:9/db", ""),
        ("file:///tmp/nowhere/mlruns", ""),
    ],
)
def test_an_address_that_leads_nowhere_is_a_sentence_without_secrets(
    tmp_path: Path, uri: str, sentence: str, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(UserError) as caught:
        connect(uri)
    write(tmp_path, "run0", "RUNNING", 1)
    assert Shipping(Store(uri, "there"), tmp_path / "runs").round() is not None
    printed = f"{caught.value}\n{''.join(capfd.readouterr())}"
    assert sentence in str(caught.value) and "what it misses is recorded when" in printed
    assert not [secret for secret in (*SECRET, "CANARY", "PW/x") if secret in printed], printed


def test_a_server_that_never_says_anything_is_given_up_soon() -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as server:
        address = f"http://127.0.0.1:{server.getsockname()[1]}"
        threading.Timer(8, server.close).start()
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("pipeline.tracking.database.ANSWER_S", 1.0)
            with pytest.raises(
                UserError, match="does not answer: no answer; is MLFLOW_TRACKING_URI"
            ):
                connect(address)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("at https://u:p@h:5/a?k=v; is", "at https://h:5/a is"),
        ("mysql+pymysql://u:p@ss@h/db", "mysql+pymysql://h/db"),
        ("http://u:p/w?x#y@h/db.", "http://h/db."),
        ("(s3://bucket/@scope/a, http://[::1]:5/x)", "(s3://bucket/@scope/a, http://[::1]:5/x)"),
        ("http://TOKEN@h", "http://h"),
    ],
)
def test_addresses_are_shown_without_their_secrets(text: str, shown: str) -> None:
    assert discreet(text) == shown


def test_a_secret_is_blanked_wherever_a_library_says_it() -> None:
    uri = "postgresql://canaryuser:CANARY%2FPW@h/db?password=CANARYTOKEN"
    said = 'login of user "canaryuser" with CANARY/PW, CANARY%2FPW or CANARYTOKEN failed'
    assert discreet(said, uri) == 'login of user "***" with ***, *** or *** failed'


def test_the_file_of_an_address(tmp_path: Path) -> None:
    (tmp_path / "link.db").symlink_to(tmp_path / "there.db")
    assert sqlite_file(f"sqlite:///{tmp_path}/link.db") == tmp_path / "there.db"
    assert sqlite_file("sqlite://") is None and sqlite_file("http://h") is None
