"""The file queue's database: SQLite statements for one thread. Several processes may hold the same file open."""

from __future__ import annotations

import os
import secrets
import sqlite3
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final, NamedTuple

from core.errors import Blocked, Unavailable
from core.ports import Depth, Message

_APPLICATION_ID: Final = 0x4F634C71
_VERSION: Final = 1
# Of 4, 8 and 16 KiB the cheapest for 48 KiB envelopes: 126 us of CPU to receive and ack one, against 186 and 164.
_PAGE_BYTES: Final = 8 * 1024
_CHECKPOINT_PAGES: Final = 2048
_WAL_LIMIT_BYTES: Final = 32 * 1024 * 1024
_BOOT_ID: Final = Path("/proc/sys/kernel/random/boot_id")

# Bodies have a table of their own: leasing a message would otherwise write its whole body again.
# `until` is null while a message has never been received, else the end of its lease or delay; `turn` orders the former.
_SCHEMA: Final = """
CREATE TABLE body (id INTEGER PRIMARY KEY, bytes BLOB NOT NULL);
CREATE TABLE message (id INTEGER PRIMARY KEY, grp TEXT NOT NULL, turn INTEGER NOT NULL,
    receives INTEGER NOT NULL DEFAULT 0, until INTEGER, token INTEGER);
CREATE INDEX fresh_by_turn ON message (turn) WHERE until IS NULL;
CREATE INDEX fresh_by_group ON message (grp, turn) WHERE until IS NULL;
CREATE INDEX received ON message (until) WHERE until IS NOT NULL;
CREATE TABLE dead (id INTEGER PRIMARY KEY, grp TEXT NOT NULL, receives INTEGER NOT NULL, died_at INTEGER NOT NULL);
CREATE TABLE meta (key TEXT PRIMARY KEY, value) WITHOUT ROWID;
"""
# A message's turn is the one now being served, or the one after its group's last: a group with a long backlog holds
# back itself and not the others.
_SEND: Final = """
INSERT INTO message (id, grp, turn) VALUES (:id, :grp, max(
    ifnull((SELECT min(turn) FROM message WHERE until IS NULL), 0),
    ifnull((SELECT max(turn) + 1 FROM message WHERE grp = :grp AND until IS NULL), 0)))
"""
_LAPSED: Final = "SELECT id, receives FROM message WHERE until <= ? ORDER BY until LIMIT ?"
_FRESH: Final = "SELECT id, receives FROM message WHERE until IS NULL ORDER BY turn, id LIMIT ?"
_LEASE: Final = "UPDATE message SET until = ?, token = ?, receives = receives + 1 WHERE id = ?"
_EXTEND: Final = "UPDATE message SET until = ? WHERE id = ? AND token = ?"
_RELEASE: Final = "UPDATE message SET until = ?, token = NULL WHERE id = ? AND token = ?"
_BURY: Final = "INSERT INTO dead SELECT id, grp, receives, ? FROM message WHERE id = ?"
_READY: Final = """
SELECT EXISTS (SELECT 1 FROM message WHERE until IS NULL) OR EXISTS (SELECT 1 FROM message WHERE until <= ?)
"""
_DEPTH: Final = """
SELECT (SELECT count(*) FROM message WHERE until IS NULL) + (SELECT count(*) FROM message WHERE until <= :now),
    (SELECT count(*) FROM message WHERE until > :now), (SELECT count(*) FROM dead)
"""


Execute = Callable[..., sqlite3.Cursor]
Held = tuple[int, int]
"""A lease's message and token."""


class Claim(NamedTuple):
    id: int
    token: int
    receives: int
    body: bytes


class NotAQueue(sqlite3.DatabaseError):
    """The file is a sound database, but not one of this queue."""


def translate(error: sqlite3.Error, path: Path) -> Unavailable:
    """The port's error for SQLite's: `Blocked` where waiting alone does not help."""
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    detail = f"queue file {path}: {error}"
    if code in (sqlite3.SQLITE_FULL, sqlite3.SQLITE_READONLY):
        return Blocked("queue", detail)
    if isinstance(error, NotAQueue) or code in (sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT):
        return Blocked("queue", f"{detail}; move it away or name another")
    return Unavailable("queue", detail)


class QueueDatabase:
    """One connection. Times are microseconds of `now_us`; every method is one transaction and may raise sqlite3.Error.

    `send` and `ack` are on disk on return. Leases are in the operating system's hands: they survive a killed process,
    and a lost one means no more than a repeated delivery.
    """

    def __init__(self, path: Path, max_receives: int, busy_timeout: float) -> None:
        self._path = path
        self._max_receives = max_receives
        # Deadlines in time since boot know no clock steps; a boot ends every lease, for its holder is gone.
        self._boot = _BOOT_ID.read_text().strip() if _BOOT_ID.exists() else ""
        self._full_sync = True
        path.parent.mkdir(parents=True, exist_ok=True)
        os.close(os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600))
        self._connection = sqlite3.connect(path, timeout=busy_timeout, isolation_level=None)
        try:
            self._prepare(busy_timeout)
        except BaseException:
            self._connection.close()
            raise
        self._inode = path.stat().st_ino

    def now_us(self) -> int:
        return (time.monotonic_ns() if self._boot else time.time_ns()) // 1000

    @property
    def log_path(self) -> Path:
        """The file that every commit, by whatever process, writes to."""
        return self._path.with_name(f"{self._path.name}-wal")

    def in_place(self) -> bool:
        """Whether the path still leads to this file: what goes to a deleted one would be lost."""
        try:
            return self._path.stat().st_ino == self._inode
        except OSError:
            return False

    def send(self, messages: Sequence[Message]) -> None:
        with self._transaction(full_sync=True) as execute:
            for message in messages:
                id_ = execute("INSERT INTO body (bytes) VALUES (?)", (message.body,)).lastrowid
                execute(_SEND, {"id": id_, "grp": message.group or ""})

    def claim(self, count: int, lease_us: int) -> list[Claim]:
        """Lease up to `count` messages: lapsed ones first, for they are the oldest, then fresh ones by turn."""
        now = self.now_us()
        if not self._connection.execute(_READY, (now,)).fetchone()[0]:
            return []
        with self._transaction(full_sync=False) as execute:
            lapsed = execute(_LAPSED, (now, count)).fetchall()
            while spent := [id_ for id_, receives in lapsed if receives >= self._max_receives]:
                self._bury(spent)
                lapsed = execute(_LAPSED, (now, count)).fetchall()
            rows = lapsed + execute(_FRESH, (count - len(lapsed),)).fetchall()
            token = secrets.randbits(63)
            claims = []
            for id_, receives in rows:
                execute(_LEASE, (now + lease_us, token, id_))
                body = execute("SELECT bytes FROM body WHERE id = ?", (id_,)).fetchone()[0]
                claims.append(Claim(id_, token, receives + 1, body))
            return claims

    def extend(self, held: Sequence[Held], lease_us: int) -> list[bool]:
        """Which of `held` nobody else has received since; their leases now end `lease_us` from now."""
        until = self.now_us() + lease_us
        with self._transaction(full_sync=False) as execute:
            return [execute(_EXTEND, (until, id_, token)).rowcount > 0 for id_, token in held]

    def ack(self, held: Sequence[Held]) -> int:
        """How many of `held` were removed: all that nobody else has received since."""
        removed = 0
        with self._transaction(full_sync=True) as execute:
            for id_, token in held:
                if execute("DELETE FROM message WHERE id = ? AND token = ?", (id_, token)).rowcount:
                    execute("DELETE FROM body WHERE id = ?", (id_,))
                    removed += 1
        return removed

    def release(self, held: Sequence[Held], delay_us: int) -> None:
        until = self.now_us() + delay_us
        with self._transaction(full_sync=False) as execute:
            for id_, token in held:
                execute(_RELEASE, (until, id_, token))

    def depth(self) -> Depth:
        return Depth(*self._connection.execute(_DEPTH, {"now": self.now_us()}).fetchone())

    def touch(self) -> None:
        """Write something, as `send` would."""
        with self._transaction(full_sync=False) as execute:
            execute("UPDATE meta SET value = value + 1 WHERE key = 'touched'")

    def close(self) -> None:
        self._connection.close()

    def _bury(self, ids: Sequence[int]) -> None:
        for id_ in ids:
            self._connection.execute(_BURY, (time.time_ns() // 1000, id_))
            self._connection.execute("DELETE FROM message WHERE id = ?", (id_,))

    @contextmanager
    def _transaction(self, *, full_sync: bool) -> Iterator[Execute]:
        execute = self._connection.execute
        if full_sync is not self._full_sync:
            execute("PRAGMA synchronous = FULL" if full_sync else "PRAGMA synchronous = NORMAL")
            self._full_sync = full_sync
        execute("BEGIN IMMEDIATE")
        try:
            yield execute
            execute("COMMIT")
        except BaseException:
            if self._connection.in_transaction:  # SQLite itself rolls back when the disk is full
                execute("ROLLBACK")
            raise

    def _prepare(self, busy_timeout: float) -> None:
        execute = self._connection.execute
        if not self._is_ours():
            execute(f"PRAGMA page_size = {_PAGE_BYTES}")
        mode = _enter_wal(self._connection, busy_timeout)
        if mode != "wal":
            raise sqlite3.OperationalError(f"its file system allows no write-ahead log (mode {mode})")
        execute("PRAGMA synchronous = FULL")
        execute(f"PRAGMA wal_autocheckpoint = {_CHECKPOINT_PAGES}")
        execute(f"PRAGMA journal_size_limit = {_WAL_LIMIT_BYTES}")
        execute("PRAGMA secure_delete = OFF")
        with self._transaction(full_sync=True):
            if not self._is_ours():
                for statement in _SCHEMA.split(";"):
                    execute(statement)
                execute("INSERT INTO meta VALUES ('boot', ''), ('touched', 0)")
                execute(f"PRAGMA application_id = {_APPLICATION_ID}")
                execute(f"PRAGMA user_version = {_VERSION}")
            if execute("SELECT value FROM meta WHERE key = 'boot'").fetchone()[0] != self._boot:
                execute("UPDATE message SET until = 0, token = NULL WHERE until IS NOT NULL")
                execute("UPDATE meta SET value = ? WHERE key = 'boot'", (self._boot,))

    def _is_ours(self) -> bool:
        """Whether the file is a queue; False for an empty one; raises for anything else."""
        application, version, tables = self._connection.execute(
            "SELECT application_id, user_version, (SELECT count(*) FROM sqlite_master)"
            " FROM pragma_application_id, pragma_user_version"
        ).fetchone()
        if not application and not tables:
            return False
        if application != _APPLICATION_ID:
            raise NotAQueue("it is another program's database")
        if version != _VERSION:
            raise NotAQueue(f"it has version {version} of the format, and this Ocelot knows {_VERSION}")
        return True


def _enter_wal(connection: sqlite3.Connection, busy_timeout: float) -> str:
    """The journal mode reached. SQLite does not wait for other processes here, so this does."""
    deadline = time.monotonic() + busy_timeout
    while True:
        try:
            mode: str = connection.execute("PRAGMA journal_mode = WAL").fetchone()[0]
            return mode
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                raise
            time.sleep(0.01)
