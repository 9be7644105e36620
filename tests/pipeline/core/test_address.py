"""A project's folder may be called anything: its database lies in it, and nothing beside it."""

from pathlib import Path

import pytest
from sqlalchemy import create_engine, text

from pipeline.core.address import sqlite_uri
from pipeline.core.errors import UserError

NAMES = ("a b", "a%20b", "a?b", "a#b", "ü", "it's", 'q"t', "a;b&c=d@e:f+g", "a\\b", "%zz", "100%")


@pytest.mark.parametrize("name", NAMES)
def test_a_database_lies_where_its_path_says(tmp_path: Path, name: str) -> None:
    from mlflow.store.db.utils import _make_parent_dirs_if_sqlite

    file = tmp_path / name / "mlflow.db"
    file.parent.mkdir()
    uri = sqlite_uri(file)
    _make_parent_dirs_if_sqlite(uri)
    with create_engine(uri).connect() as connection:
        connection.execute(text("CREATE TABLE t (a INTEGER)"))
    assert file.is_file() and [path.name for path in tmp_path.iterdir()] == [name]


def test_a_folder_that_is_not_utf_8_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"caf\\xe9/mlflow\.db, whose name is not UTF-8"):
        sqlite_uri(tmp_path / "caf\udce9" / "mlflow.db")
