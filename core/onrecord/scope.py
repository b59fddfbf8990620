"""Names: who a session belongs to, and what it is called.

Scopes are walls (I6), so a name is never concatenated into anything: a session is found by a
digest over its four parts with their lengths, and the parts themselves are only ever data.
"""

from __future__ import annotations

import enum
from functools import cached_property
from hashlib import blake2b
from typing import Final, Literal, NamedTuple, TypeAlias

import msgspec
from msgspec.structs import force_setattr

from onrecord.errors import InvalidName, shown

LONGEST_NAME: Final = 512
MOST_PARTS: Final = 16
"""Of a namespace."""
LONGEST_PATH: Final = 2_000
"""Bytes of all parts of a namespace: a PostgreSQL index row holds no more than 2,704."""


class _Any(enum.Enum):
    ANY = "ANY"

    def __repr__(self) -> str:
        return "ANY"


ANY: Final = _Any.ANY
"""Every tenant, user or agent. Leaving one out means the empty one, never all of them."""
AnyName: TypeAlias = str | Literal[_Any.ANY]


class SessionName(msgspec.Struct, frozen=True, kw_only=True, dict=True):
    """The four parts that name one session. Checked when it is made."""

    key: str
    tenant: str = ""
    user: str = ""
    agent: str = ""

    def __post_init__(self) -> None:
        check_name("key", self.key)
        _check_one_owner(self.tenant, self.user, self.agent)
        _make_plain(self, "key", "tenant", "user", "agent")

    @cached_property
    def identity(self) -> bytes:
        """The digest by which the database finds a session.

        Not the names themselves: four of 512 characters exceed what a PostgreSQL index row
        can hold (2,704 bytes). 160 bits: nobody finds two names that meet.
        """
        return identity_of(self.tenant, self.user, self.agent, self.key)

    @cached_property
    def owner(self) -> int:
        """The number by which sessions of one tenant and user are listed."""
        return owner_number(self.tenant, self.user)

    @property
    def shard(self) -> int:
        """The number in PostgreSQL's keys by which tables can be spread."""
        return shard_of(self.owner)

    def hashed(self, store_id: bytes) -> bytes:
        """Hash the name for what is kept of an erased session: without the store's own random id
        nobody can try a guess of the name on it."""
        return blake2b(self.identity, key=store_id, digest_size=16).digest()

    def __str__(self) -> str:
        scope = [
            f"{part}={name!r}"
            for part, name in (("tenant", self.tenant), ("user", self.user), ("agent", self.agent))
            if name
        ]
        return ", ".join([repr(self.key), *scope])


class NamespaceName(msgspec.Struct, frozen=True, kw_only=True, dict=True):
    """The parts that name one namespace of items, and its scope. Checked when it is made."""

    parts: tuple[str, ...]
    tenant: str = ""
    user: str = ""
    agent: str = ""

    def __post_init__(self) -> None:
        _check_one_owner(self.tenant, self.user, self.agent)
        check_parts(self.parts)
        _make_plain(self, "tenant", "user", "agent")
        if {str}.issuperset(map(type, self.parts)):
            return
        force_setattr(self, "parts", tuple(map(plain, self.parts)))

    @cached_property
    def identity(self) -> bytes:
        """Return what the database looks a namespace up by."""
        return _digest(20, self.tenant, self.user, self.agent, *self.parts)

    @cached_property
    def owner(self) -> int:
        """Return what namespaces of one tenant and user are listed by."""
        return owner_number(self.tenant, self.user)

    @property
    def shard(self) -> int:
        """Return what is in PostgreSQL's keys, so that tables can be spread by it."""
        return shard_of(self.owner)

    @cached_property
    def path(self) -> bytes:
        """Return the parts as one value that sorts and begins as they do."""
        return path_of(self.parts)

    def __str__(self) -> str:
        scope = Scope(self.tenant, self.user, self.agent)
        return f"{'/'.join(map(repr, self.parts))} of {scope}"


class ItemName(msgspec.Struct, frozen=True, dict=True):
    """What names one item: its namespace and its key."""

    namespace: NamespaceName
    key: str

    @property
    def identity(self) -> bytes:
        """Return what a cache looks the item up by. No session has it: that has one name less."""
        # Not a cached_property: until Python 3.12 that takes a lock, 0.4 µs of each get.
        kept = self.__dict__
        found: bytes | None = kept.get("digest")
        if found is None:
            of = self.namespace
            found = kept["digest"] = _digest(20, of.tenant, of.user, of.agent, *of.parts, self.key)
        return found

    def __str__(self) -> str:
        return f"item {self.key!r} in {self.namespace}"


class StateName(NamespaceName, frozen=True, kw_only=True, dict=True):
    """The namespace of a session's state. Its parts are an empty one, which no name is, and the
    session's key: so nobody reaches it by names."""

    def __post_init__(self) -> None:
        _check_one_owner(self.tenant, self.user, self.agent)
        empty, key = self.parts
        if empty:
            raise InvalidName(f"{shown(self.parts)} is no session's state.")
        check_name("key", key)

    @classmethod
    def of(cls, name: SessionName) -> StateName:
        """Name the state of a session."""
        parts = ("", name.key)
        return cls(parts=parts, tenant=name.tenant, user=name.user, agent=name.agent)

    @cached_property
    def session(self) -> SessionName:
        """Return the session whose state it is."""
        return SessionName(key=self.parts[1], tenant=self.tenant, user=self.user, agent=self.agent)

    def __str__(self) -> str:
        return f"the state of session {self.session}"


class FeedName(msgspec.Struct, frozen=True, kw_only=True, dict=True):
    """What names one reader: a name, and the scope that it reads. Checked when it is made."""

    name: str
    tenant: AnyName = ANY
    user: AnyName = ANY
    agent: AnyName = ANY

    def __post_init__(self) -> None:
        check_name("name", self.name)
        check_owner(self.tenant, self.user, self.agent)
        _make_plain(self, "name", "tenant", "user", "agent")

    @property
    def scope(self) -> Scope:
        """Return whose sessions are read."""
        return Scope(self.tenant, self.user, self.agent)

    def hashed(self, store_id: bytes) -> bytes:
        """Hash the name: what a database finds the reader by, also when the names of its scope
        were erased there, and what nobody can try a guess of them on."""
        parts = [None if part is ANY else part for part in self.scope]
        packed = msgspec.msgpack.encode((self.name, *parts))
        return blake2b(packed, key=store_id, digest_size=20).digest()

    def __str__(self) -> str:
        return f"{self.name!r} of {self.scope}"


FIRST_PATH: Final = b"\1"
"""Before the paths of all namespaces that people name, and behind those of states."""


def stored_name(path: bytes, tenant: str, user: str, agent: str) -> NamespaceName:
    """Name a namespace by its path, whoever made it."""
    parts = parts_of(path)
    kind = StateName if len(parts) == 2 and not parts[0] else NamespaceName
    return kind(parts=parts, tenant=tenant, user=user, agent=agent)


def path_of(parts: tuple[str, ...]) -> bytes:
    """Write parts one behind the other, each with a NUL, which no name has."""
    return b"".join([part.encode() + b"\0" for part in parts])


def parts_of(path: bytes) -> tuple[str, ...]:
    """Read what ``path_of`` has written."""
    return tuple(part.decode("utf-8", "replace") for part in path.split(b"\0")[:-1])


def check_parts(parts: object, least: int = 1) -> None:
    """Refuse what is no namespace, saying which rule, before any I/O."""
    if not isinstance(parts, tuple) or not least <= len(parts) <= MOST_PARTS:
        raise InvalidName(
            f"A namespace has {least} to {MOST_PARTS} names, and this is {shown(parts)}."
        )
    for part in parts:
        check_name("a part of a namespace", part)
    if len(path_of(parts)) > LONGEST_PATH:
        raise InvalidName(
            f"The parts of a namespace have {len(path_of(parts))} bytes together; {LONGEST_PATH} "
            f"are allowed. Shorten them, or use hashes of them."
        )


class Scope(NamedTuple):
    """A choice of sessions by tenant, user and agent; ANY stands for every one."""

    tenant: AnyName = ""
    user: AnyName = ""
    agent: AnyName = ""

    def __str__(self) -> str:
        parts = [f"{part}={name!r}" for part, name in self._asdict().items() if name != ""]
        return ", ".join(parts) or "the empty scope"


EVERYBODY: Final = Scope(ANY, ANY, ANY)
"""The whole store."""


def owner_number(tenant: str, user: str) -> int:
    """Make a signed 64-bit number of a tenant and user, small enough for an index everywhere."""
    return int.from_bytes(_digest(8, plain(tenant), plain(user)), "big", signed=True)


def shard_of(owner: int) -> int:
    """A number of 15 bits, of an owner's."""
    return owner & 0x7FFF


def check_owner(tenant: object, user: object, agent: object) -> None:
    """Refuse scope parts outside the rules; the empty one and ANY are fine."""
    for part, name in (("tenant", tenant), ("user", user), ("agent", agent)):
        if name != "" and name is not ANY:
            check_name(part, name)


def _check_one_owner(tenant: object, user: object, agent: object) -> None:
    """Refuse scope parts outside the rules, and ANY: what is in one place has one owner."""
    for part, name in (("tenant", tenant), ("user", user), ("agent", agent)):
        if name != "":
            check_name(part, name)


def check_name(part: str, name: object) -> None:
    """Refuse a name outside the rules, saying which rule, before any I/O."""
    if not isinstance(name, str):
        raise InvalidName(
            f"{part} has to be a str, and this is {shown(name)}. ANY is only for what concerns "
            f"many sessions; for none of a scope's parts leave it out."
        )
    if not name:
        raise InvalidName(f"{part} is empty. Give it a name, or leave it out if it may be.")
    if len(name) > LONGEST_NAME:
        raise InvalidName(
            f"{part} has {len(name)} characters; 1 to {LONGEST_NAME} are allowed. "
            f"Shorten it, or use a hash of it."
        )
    if "\x00" in name:
        raise InvalidName(f"{part} {name!r} contains NUL, which no database stores in a name.")
    if not (name.isascii() or _encodable(name)):
        raise InvalidName(f"{part} {name!r} contains half of a surrogate pair, which is not text.")


def plain(name: str) -> str:
    """The text of a name, also where that is of a class of its own, as a member of an enum: its
    value, and not what ``str`` calls it."""
    return name if type(name) is str else str.__str__(name)


def _make_plain(struct: msgspec.Struct, *parts: str) -> None:
    for part in parts:
        name = getattr(struct, part)
        if type(name) is not str and name is not ANY:
            force_setattr(struct, part, plain(name))


def _encodable(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def identity_of(tenant: str, user: str, agent: str, key: str) -> bytes:
    """The digest by which the database finds a session, of names that were checked before."""
    return _digest(20, tenant, user, agent, key)


def _digest(size: int, *parts: str) -> bytes:
    # msgpack writes lengths, so ("a", "bc") and ("ab", "c") never meet.
    return blake2b(msgspec.msgpack.encode(parts), digest_size=size).digest()
