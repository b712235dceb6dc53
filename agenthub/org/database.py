"""A role's own SQLite file: opened when something is kept or looked for, and not before.

Plain SQL goes to `connection`; what needs more, as full-text search, to `db`, which is the same file through
sqlite-utils. That is imported then: two MB, and several statements of its own for each that it is asked for.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sqlite_utils import Database

_TYPES = {str: "TEXT", int: "INTEGER", float: "REAL"}


class OwnDatabase:
    """One file with the tables of one subject. A commit survives a killed process, and maybe not a power loss."""

    def __init__(
        self, path: Path, tables: Mapping[str, Mapping[str, type]], keys: Mapping[str, tuple[str, ...]],
        *, made: Callable[[Database], None] | None = None,
    ) -> None:  # fmt: skip
        """
        Args:
            tables: Columns by table, `keys` their primary keys.
            made: Called with a database of which tables were just made; may be called again.
        """
        self._path, self._tables, self._keys, self._made = path, tables, keys, made
        self._opened: sqlite3.Connection | None = None
        self._database: Database | None = None

    @property
    def is_empty(self) -> bool:
        """True if nothing was ever kept; looking costs nothing."""
        return self._opened is None and not os.path.exists(self._path)  # noqa: PTH110 - asked for each task; a Path takes five times as long

    @property
    def connection(self) -> sqlite3.Connection:
        """The file, opened, with its tables; `with` it, what was changed is committed as one."""
        if self._opened is None:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._opened = sqlite3.connect(self._path, timeout=5.0)
            self._opened.execute("PRAGMA journal_mode = WAL")
            self._opened.execute("PRAGMA synchronous = NORMAL")
            found = self._opened.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
            missing = self._tables.keys() - {name for (name,) in found}
            for name in [name for name in self._tables if name in missing]:
                columns = [f"{column} {_TYPES[kind]}" for column, kind in self._tables[name].items()]
                columns.append(f"PRIMARY KEY ({', '.join(self._keys[name])})")
                self._opened.execute(f"CREATE TABLE IF NOT EXISTS {name} ({', '.join(columns)})")
            if missing and self._made is not None:
                self._made(self.db)
        return self._opened

    @property
    def db(self) -> Database:
        """The same through sqlite-utils."""
        connection = self.connection
        if self._database is None:
            from sqlite_utils import Database

            self._database = Database(connection)
        return self._database

    def rows(self, sql: str, *arguments: object) -> list[dict[str, Any]]:
        """What a question gives; nothing, and no file, if nothing was ever kept."""
        if self.is_empty:
            return []
        found = self.connection.execute(sql, arguments)
        names = [column[0] for column in found.description]
        return [dict(zip(names, row, strict=True)) for row in found]

    def close(self) -> None:
        if self._opened is not None:
            self._opened.close()
            self._opened = self._database = None
