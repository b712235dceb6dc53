"""A role's own SQLite file, through sqlite-utils: opened when something is kept or looked for, and not before."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sqlite_utils import Database


class OwnDatabase:
    """One file with the tables of one subject. A commit survives a killed process, and maybe not a power loss."""

    def __init__(
        self, path: Path, tables: Mapping[str, Mapping[str, type]], keys: Mapping[str, tuple[str, ...]],
        *, made: Callable[[Any], None] = lambda database: None,
    ) -> None:  # fmt: skip
        """
        Args:
            tables: Columns by table, `keys` their primary keys.
            made: Called with a database of which tables were just made; may be called again.
        """
        self._path, self._tables, self._keys, self._made = path, tables, keys, made
        self._opened: Database | None = None

    @property
    def is_empty(self) -> bool:
        """True if nothing was ever kept; looking costs nothing."""
        return self._opened is None and not self._path.exists()

    @property
    def db(self) -> Database:
        """The database, opened, with its tables."""
        if self._opened is None:
            from sqlite_utils import Database

            self._path.parent.mkdir(parents=True, exist_ok=True)
            connection = sqlite3.connect(self._path, timeout=5.0)
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = NORMAL")
            database = Database(connection)
            if missing := self._tables.keys() - set(database.table_names()):
                for name in [name for name in self._tables if name in missing]:
                    database.table(name).create(dict(self._tables[name]), pk=self._keys[name], if_not_exists=True)
                self._made(database)
            self._opened = database
        return self._opened

    def rows(self, sql: str, *arguments: object) -> list[dict[str, Any]]:
        """What a question gives; nothing, and no file, if nothing was ever kept."""
        return [] if self.is_empty else list(self.db.query(sql, arguments))

    def close(self) -> None:
        if self._opened is not None:
            self._opened.conn.close()
            self._opened = None
