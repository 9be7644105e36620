"""Addresses of files for libraries that read them as URLs."""

import os
from pathlib import Path
from urllib.parse import quote

from pipeline.core.errors import UserError


def sqlite_uri(file: Path) -> str:
    """Return the address of a SQLite database for MLflow, whatever its folder is called.

    SQLAlchemy takes `%41` for a letter and what follows `?` for options. MLflow would make the
    folder of an address that begins with `sqlite:///` by its escaped name, so an escaped one names
    its driver.

    Raises:
        UserError: the folder's name is not UTF-8, which SQLAlchemy cannot open.
    """
    text = str(file.resolve())
    try:
        text.encode()
    except UnicodeEncodeError:
        readable = os.fsencode(text).decode(errors="backslashreplace")
        raise UserError(
            f"MLflow cannot open {readable}, whose name is not UTF-8; rename the folder, or set "
            "tracking.uri"
        ) from None
    return f"sqlite+pysqlite:///{quote(text)}" if {"%", "?"} & set(text) else f"sqlite:///{text}"
