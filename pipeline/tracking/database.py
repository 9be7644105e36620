"""Where MLflow keeps runs: an address that answers, and a SQLite file that is there whole or not at
all.

MLflow makes a new database by some fifty migrations, several seconds long, and two processes that
do so at once, or one that is killed, leave a file that no later command can use. Here it is made
beside its name, under a lock, and renamed.
"""

import os
import socket
import sqlite3
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from pipeline.core import failpoints
from pipeline.core.address import sqlite_uri
from pipeline.core.errors import UserError, discreet
from pipeline.core.files import clear_leftovers, digest, write_bytes
from pipeline.core.locks import held

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from sqlalchemy import URL

ANSWER_S = 10.0
"""How long a server may take to answer a knock, in all; MLflow itself would try for minutes,
without a word.
"""
UNLOCK_S = 4.0
ANSWERING = ("file:", "sqlite:", "databricks")  # nobody to knock at
PORTS = {"postgresql": 5432, "mysql": 3306, "mssql": 1433}


def connect(uri: str) -> "MlflowClient":
    """Return a client of a store that answers; a SQLite database that is missing is made first.

    Raises:
        UserError: the store does not answer, is damaged, locked or of another version, or its
            driver is missing.
    """
    with sentences(uri):
        _make_ready(uri)
        from mlflow import MlflowClient

        client = MlflowClient(tracking_uri=uri)
        client.search_experiments(max_results=1)
    return client


@contextmanager
def sentences(uri: str) -> Iterator[None]:
    """Turn whatever a store answers in the block into one sentence without secrets.

    A database may hold anything, and MLflow's own layers answer it with errors of a dozen
    libraries.

    Raises:
        UserError: something was raised.
    """
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        lines = str(error).strip().splitlines() or [type(error).__name__]
        reason = discreet(lines[0], uri)[:300].rstrip(".")
        raise UserError(
            f"MLflow at {discreet(uri)} cannot be used: {reason}; {_advice(uri)}"
        ) from None


@contextmanager
def alone(uri: str) -> Iterator[None]:
    """Be the only process that finds or makes something in this store: of this machine, for SQLite
    of all machines.
    """
    file = sqlite_file(uri)
    if file is not None:
        lock = file.with_name(f".{file.name}.lock")
    else:
        lock = Path(tempfile.gettempdir()) / f"mlflow-{os.getuid()}-{digest(uri)[:16]}.lock"
    with held(lock, "MLflow", say=lambda _: None):
        yield


def artifacts_of(uri: str) -> str | None:
    """Return where artifacts lie, as a URI: beside a SQLite database; a server knows its own
    place.
    """
    file = sqlite_file(uri)
    return None if file is None else (file.parent / "mlartifacts").as_uri()


def sqlite_file(uri: str) -> Path | None:
    """Return the file of a SQLite address, links resolved; None for servers and for databases in
    memory.
    """
    if not uri.startswith(("sqlite:", "sqlite+")):
        return None
    from sqlalchemy import make_url

    name = make_url(uri).database or ":memory:"
    if name.startswith("file:"):
        name = unquote(urlsplit(name).path)
    return None if name == ":memory:" else Path(os.path.realpath(name))


def _advice(uri: str) -> str:
    if (file := sqlite_file(uri)) is not None:
        return (
            f"restore {file} from a copy, or move it away and run the command again, which "
            "makes a new one"
        )
    return "is MLFLOW_TRACKING_URI, or tracking.uri in the params, right?"


def knock(uri: str) -> None:
    """See in seconds whether a server is there; a database in a file is not looked at.

    Raises:
        UserError: it is not, or does not answer.
    """
    if uri.startswith(("http://", "https://")):
        _in_time(uri, _knock_at_server)
    elif sqlite_file(uri) is None and "://" in uri and not uri.startswith(ANSWERING):
        _in_time(uri, _knock_at_database)


def _make_ready(uri: str) -> None:
    """Make a missing database, and see in seconds whether a server is there."""
    knock(uri)
    if (file := sqlite_file(uri)) is not None:
        _make_database(uri, file)


def _in_time(uri: str, knock_at: Callable[[str], None]) -> None:
    """Knock, and give up after `ANSWER_S`: an answer may come in drops."""
    caught: list[Exception] = []

    def work() -> None:
        try:
            knock_at(uri)
        except Exception as error:
            caught.append(error)

    knocking = threading.Thread(target=work, daemon=True)
    knocking.start()
    knocking.join(ANSWER_S)

    if knocking.is_alive():
        raise UserError(f"MLflow at {discreet(uri)} does not answer: no answer; {_advice(uri)}")
    if caught:
        raise caught[0]


def _knock_at_server(uri: str) -> None:
    """Ask once; whatever is no server's own failure is an answer, and MLflow knows best what to
    make of it.
    """
    import requests

    try:
        page = f"{uri.rstrip('/')}/health" if "?" not in uri else uri
        with requests.get(page, timeout=(ANSWER_S / 2, ANSWER_S / 2), stream=True) as response:
            failure = (
                f"it answers {response.status_code} {response.reason}"
                if response.status_code >= 500
                else None
            )
    except requests.exceptions.Timeout:
        failure = "no answer"
    except requests.exceptions.RequestException as error:
        refused = isinstance(error, requests.exceptions.ConnectionError)
        failure = "no connection" if refused else str(error).splitlines()[0]

    if failure:
        raise UserError(
            f"MLflow at {discreet(uri)} does not answer: {discreet(failure, uri)}; {_advice(uri)}"
        )


def _knock_at_database(uri: str) -> None:
    from sqlalchemy import make_url

    url = make_url(uri)
    _refuse_missing_driver(uri, url)
    port = url.port or PORTS.get(url.get_backend_name())
    if url.host is None or port is None:
        return

    try:
        socket.create_connection((url.host, port), timeout=ANSWER_S).close()
    except OSError as error:
        reason = error.strerror or str(error)
        raise UserError(
            f"MLflow at {discreet(uri)} does not answer: {reason}; {_advice(uri)}"
        ) from None


def _refuse_missing_driver(uri: str, url: "URL") -> None:
    try:
        url.get_dialect().import_dbapi()
    except ModuleNotFoundError as error:
        raise UserError(
            f"MLflow at {discreet(uri)} needs the Python package {error.name}, which is not "
            "installed; install it, or "
            "name another store in MLFLOW_TRACKING_URI or tracking.uri"
        ) from None


def _make_database(uri: str, file: Path) -> None:
    """Leave a whole database as it is; make one where there is none, or one that holds no run and
    is not whole.
    """
    if file.exists() and _is_whole(file):
        return

    file.parent.mkdir(parents=True, exist_ok=True)
    with alone(uri):
        if file.exists() and file.stat().st_size:
            if _is_whole(file):
                return
            _set_aside(file)
        _make(uri, file)


def _is_whole(file: Path) -> bool:
    """Return whether MLflow may open a database: all of its tables are there, for it would add
    missing ones itself.

    Raises:
        UserError: the file is no database, cut off, locked by another program, or must not be
            written.
    """
    if file.stat().st_size == 0:
        return False
    from mlflow.store.db.base_sql_model import Base
    from mlflow.store.tracking import sqlalchemy_store  # noqa: F401, declares the tables

    tables = _look_into(file, "SELECT name FROM sqlite_master WHERE type = 'table'")
    return set(Base.metadata.tables) | {"alembic_version"} <= tables


def _set_aside(file: Path) -> None:
    """Move a database that is not whole out of the way, if it holds no run: a kill while it was
    made left it.

    Raises:
        UserError: it holds runs.
    """
    tables = _look_into(file, "SELECT name FROM sqlite_master WHERE type = 'table'")
    if "runs" in tables and _look_into(file, "SELECT run_uuid FROM runs LIMIT 1"):
        raise UserError(
            f"{file} lacks tables of this MLflow, though it holds runs: it was written by "
            "another version, or is "
            "damaged; copy it, then run: mlflow db upgrade "
            f"{file.as_uri().replace('file:', 'sqlite:')}"
        )

    old = file.with_name(f"{file.name}.incomplete-{time.strftime('%Y%m%d-%H%M%S')}")
    os.rename(file, old)
    print(
        f"MLflow: {file} was never finished; it is {old.name} now, and a new one is made",
        flush=True,
    )


def _look_into(file: Path, query: str) -> set[str]:
    """Return the first column of a query, after checking that the database may be read and
    written.
    """
    address = f"{file.as_uri()}?mode=rw"
    try:
        with closing(
            sqlite3.connect(address, uri=True, timeout=UNLOCK_S, isolation_level=None)
        ) as connection:
            connection.execute("BEGIN IMMEDIATE")
            pages = connection.execute("PRAGMA page_count").fetchone()[0]
            size = pages * connection.execute("PRAGMA page_size").fetchone()[0]
            if size > file.stat().st_size:
                raise sqlite3.DatabaseError(f"cut off at {file.stat().st_size} of {size} bytes")
            rows = {str(row[0]) for row in connection.execute(query)}
            connection.execute("ROLLBACK")
            return rows
    except sqlite3.OperationalError as error:
        if "locked" in str(error):
            raise UserError(
                f"{file} is locked by another program; close it and run the command again"
            ) from None
        if "readonly" in str(error) or "unable to open" in str(error):
            raise UserError(
                f"{file} cannot be opened for writing ({error}); is it, and its folder, yours?"
            ) from None
        raise


def _make(uri: str, file: Path) -> None:
    """Make a database with MLflow's own migrations elsewhere, and give it its name when it is whole
    and on the disk.
    """
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    clear_leftovers(file)
    with tempfile.TemporaryDirectory(prefix="mlflow-", ignore_cleanup_errors=True) as folder:
        draft = Path(folder) / "mlflow.db"
        store = SqlAlchemyStore(sqlite_uri(draft), artifacts_of(uri))
        store.engine.dispose()
        failpoints.reach("database.made")
        content = draft.read_bytes()

    # by a rename: nobody sees a database that lacks tables
    try:
        write_bytes(file, content)
    except OSError as error:
        raise UserError(
            f"{file}, {len(content):,} bytes, cannot be written: {error.strerror}"
        ) from None
