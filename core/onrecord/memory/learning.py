"""Learn from what happens in a scope, each message once, and keep what was learned as items.

A ``Learner`` reads a feed. Of each session it keeps what that adds (its numbers) and up to which
version that was counted; of all sessions the sums. Both are written in one transaction, in which
the feed is told that it is done. A change that comes again, as after a backup was restored, is
known by its version and counts once; one that was rewritten takes the place of what it added
before, and one that was erased is subtracted.

Every write names the token of the one before it. Of two who write at once the second is refused,
reads again and adds to what is there then. What was erased has no token: a learner that was in the
middle of it brings nothing back.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from hashlib import blake2b
from typing import Any, Final, NamedTuple, Protocol, TypeAlias

import msgspec

from onrecord.adapters.calls import Talk, call
from onrecord.adapters.reference import check_store
from onrecord.change import Change
from onrecord.errors import Conflict, Damaged
from onrecord.item import Delete, Item, ItemChange, Put
from onrecord.message import Message
from onrecord.scope import ANY, AnyName, Scope, check_owner
from onrecord.store import Store
from onrecord.version import NOTHING, Version

Numbers: TypeAlias = dict[str, list[int]]
"""Sums under names. Whole numbers: what is added and subtracted again leaves nothing behind."""

FIRST: Final = "sums"
TOGETHER: Final = 256
"""Sessions in one item. Of 100,000 these are 391 items of some 20 KB; a new message writes one."""
LARGEST: Final = 2_048
"""Bytes of what one session adds; what is larger has an item of its own, so that no item grows
to the largest that there can be."""
LEASE: Final = 30.0
"""Seconds that what was read is held. One that lasts too short costs work and no correctness."""
FEW: Final = 50
"""Sessions in the first batch; each of them may come with 1,000 messages."""
MOST: Final = 1_000
"""Sessions in a batch, as many as a feed hands out."""
MANY: Final = 10_000
"""Messages in a batch, about: the next one has as many sessions as these took."""
_MOST_WRITES: Final = 5_000
"""Items in one transaction; half of what the store takes."""
_PAGE: Final = 100


class Lesson(Protocol):
    """What is to be learned."""

    def begin(self) -> Any:
        """Return what is to be known before the first message of a session."""

    def hear(self, going: Any, numbers: Numbers, messages: Iterable[Message], salt: bytes) -> Any:
        """Add what messages say to the numbers of their session, and return what has to be known
        before the next ones. What names somebody is kept as a digest, with the salt."""

    def places(self, name: str) -> Iterable[tuple[str, str]]:
        """Say where the number under a name is summed up: in which item ("" for the first), and
        under which name there."""


class Counted(msgspec.Struct, frozen=True, array_like=True):
    """What one session adds, and up to which version that is."""

    epoch: int
    head: int
    name: bytes
    """A digest of the session's name: names of people stand nowhere here."""
    going: Any
    numbers: Numbers

    @property
    def version(self) -> Version:
        """Up to where it was counted."""
        return Version(self.epoch, self.head)


class _Named(msgspec.Struct, array_like=True):
    """The beginning of a ``Counted``: a third of what it takes to read all of it."""

    epoch: int
    head: int
    name: bytes


class Sums(msgspec.Struct, frozen=True):
    """The first item: which series the others are of, and the sums that are asked for most."""

    series: str
    salt: bytes
    """Without it nobody can try a guess of a name on a digest."""
    feed: bytes = b""
    """By which the database knows the reader. Another database knows it by another."""
    numbers: Numbers = {}


class _First(NamedTuple):
    token: str | None
    sums: Sums


class _Lost(Exception):
    """What was learned does not go together with the feed: it was taken away, or it came here from
    another database."""


_encode = msgspec.msgpack.encode
_decode_group = msgspec.msgpack.Decoder(dict[int, msgspec.Raw]).decode
_decode_one = msgspec.msgpack.Decoder(Counted).decode
_decode_name = msgspec.msgpack.Decoder(_Named).decode
_ELSEWHERE: Final = msgspec.Raw(_encode(None))
"""In a group: what this session adds is in an item of its own."""


class Learner:
    """Learns one lesson from the sessions of a scope. Holds nothing but names: all that was learned
    is in items, and several processes may share the work."""

    def __init__(
        self,
        store: Store,
        lesson: Lesson,
        what: Sequence[str],
        tenant: AnyName,
        user: AnyName,
        agent: AnyName,
    ) -> None:
        check_store(store)
        check_owner(tenant, user, agent)
        self.store = store
        self.scope = Scope(tenant, user, agent)
        self.lesson = lesson
        # It lives in the scope that it is about: who erases that takes it along. Which of the
        # names were left open is part of the namespace: two scopes never share one.
        pattern = "".join("*" if part is ANY else "=" for part in self.scope)
        self._home = {
            part: "" if name is ANY else name for part, name in self.scope._asdict().items()
        }
        self.items = store.items("onrecord", *what, pattern, **self._home)
        self._feed_name = " ".join(["onrecord", *what])

    def total(self) -> Talk[Numbers]:
        """Learn what is new, and return all sums of the first item."""
        first = yield from self.learn()
        return {} if first is None else first.numbers

    def learn(self) -> Talk[Sums | None]:
        """Learn what is new; None where nothing was ever said."""
        limit = FEW
        first = yield from self._begun()
        while first is not None:
            feed = self._feed(first.sums.series)
            changes = yield from call(feed.read, limit=limit, lease=LEASE)
            if not changes:
                # Others may have added to it since it was read, and been done with the feed; or
                # somebody was erased.
                there = yield from self._begun()
                if there is None or there.sums.series == first.sums.series:
                    return None if there is None else there.sums
                first = there
                continue
            try:
                after = yield from self._count(first, changes)
            except _Lost:
                yield from self._drop(first)
                first = yield from self._begun()
                continue
            # To those who began anew meanwhile these changes come again.
            goes_on = after is not None and after.sums.series == first.sums.series
            if goes_on and not any(change.handout.more for change in changes):
                return None if after is None else after.sums
            first = after
            said = sum(len(change.messages) for change in changes)
            limit = max(1, min(MOST, 2 * limit, len(changes) * MANY // max(said, 1)))
        return None

    def forget(self) -> Talk[bool]:
        """Take away what was learned, and the reader; whether there was any. It is learned anew
        from all that is there by whoever asks next."""
        while True:
            expected: Item | int | None = 0
            left = yield from self._left()
            many_series = {key.split("/")[0] for key in left}
            try:
                item = yield from call(self.items.get, FIRST)
                if item is not None:
                    expected, many_series = item, {_sums_of(item).series}
            except Damaged:
                expected = None  # whatever it is
            with suppress(Conflict):  # somebody has learned something new
                gone = yield from call(self.items.delete, FIRST, expected=expected)
                yield from self._clear((yield from self._left()), many_series)
                return gone

    def each(self, sums: Sums) -> Talk[dict[bytes, Any]]:
        """Read what each session adds, by the digest of its name: for ``numbers_of``."""
        found: dict[bytes, Any] = {}
        for item in (yield from self._below(f"{sums.series}/g")):
            for raw in _group_of(item).values():
                if raw != _ELSEWHERE:
                    found[_name_in(raw)] = raw
        for item in (yield from self._below(f"{sums.series}/s")):
            found[_one_of(item.value).name] = item.value
        return found

    def buckets(self, sums: Sums) -> Talk[Numbers]:
        """Read the sums that are in items of their own."""
        found: Numbers = {}
        for item in (yield from self._below(f"{sums.series}/b")):
            found.update(_numbers_of(item))
        return found

    # -- from the first item on ---------------------------------------------------------------

    def _feed(self, series: str) -> Any:
        return self.store.feed(f"{self._feed_name} {series}", **self.scope._asdict())

    def _begun(self) -> Talk[_First | None]:
        """The first item, made where there is none; None where there are no sessions either: of
        who said nothing, or was erased, not even a name is written here."""
        while True:
            item = yield from call(self.items.get, FIRST)
            if item is not None:
                return _First(item.token, _sums_of(item))
            if not (yield from call(self.store.sessions, limit=1, **self.scope._asdict())):
                return None
            left = yield from self._left()
            sums = Sums(secrets.token_hex(6), secrets.token_bytes(16))
            token = secrets.token_hex(8)
            with suppress(Conflict):  # somebody else began at the same time
                yield from call(
                    self.items.put, FIRST, _plain(sums), text="", token=token, expected=0
                )
                yield from self._clear(left, {key.split("/")[0] for key in left})
                return _First(token, sums)

    def _drop(self, first: _First) -> Talk[None]:
        """Take away what was learned, if it is still what was seen."""
        item = yield from call(self.items.get, FIRST)
        if item is None or item.token != first.token:
            return  # it is not: somebody else began anew
        with suppress(Conflict):
            yield from call(self.items.delete, FIRST, expected=item)
            yield from self._clear((yield from self._left()), [first.sums.series])

    def _left(self) -> Talk[list[str]]:
        """The keys of what is there beside the first item."""
        return [item.key for item in (yield from self._below("")) if "/" in item.key]

    def _clear(self, keys: Iterable[str], many_series: Iterable[str]) -> Talk[None]:
        """Take away what is of series that have no first item any more, and their readers."""
        for series in many_series:  # the keys last: they say of whom there is something left
            yield from call(self._feed(series).forget)
            of = [key for key in keys if key.startswith(f"{series}/")]
            yield from call(self.items.delete_many, of)

    def _count(self, first: _First, changes: Sequence[Change]) -> Talk[_First | None]:
        """Add what changes say, whatever others add at the same time, and be done with them; None
        where what was learned was taken away meanwhile."""
        feed = self._feed(first.sums.series)
        while True:
            token = secrets.token_hex(8)
            writes, sums = yield from self._writes(first, changes, token)
            if len(writes) > _MOST_WRITES and len(changes) > 1:
                half = len(changes) // 2
                then = yield from self._count(first, changes[:half])
                return None if then is None else (yield from self._count(then, changes[half:]))
            try:
                # What is lost with the machine's power comes again, and is learned again.
                held = yield from call(feed.done, changes, writes=writes, durable=False)
                if held and writes:
                    return _First(token, sums)
                # All of it was counted before, or others were given it, and count it.
                return (yield from self._begun())
            except Conflict:
                item = yield from call(self.items.get, FIRST)
            if item is None or _sums_of(item).series != first.sums.series:
                return (yield from self._begun())  # these changes come again to the new one
            first = _First(item.token, _sums_of(item))

    def _writes(
        self, first: _First, changes: Sequence[Change], token: str
    ) -> Talk[tuple[list[ItemChange], Sums]]:
        """What has to be written for changes, with the new sums, under a new token."""
        sums = first.sums
        reader = changes[0].handout.feed
        if sums.feed not in (b"", reader):
            raise _Lost
        there = yield from self._there(sums, [change.number for change in changes])
        sum_of: Numbers = {}
        sessions = 0
        now: dict[int, Counted] = {}
        for change in changes:
            before = now.get(change.number) or there.known.get(change.number)
            after = self._after(sums, before, change)
            if after is not None:
                now[change.number] = after
                if before is not None:
                    _add_all(sum_of, before.numbers, -1)
                    sessions -= bool(before.numbers)
                _add_all(sum_of, after.numbers, 1)
                sessions += bool(after.numbers)
        if not now:
            return [], sums
        more = self._placed(sum_of)
        add(more[""].setdefault("sessions", []), [sessions])
        buckets = [f"{sums.series}/b{bucket}" for bucket in more if bucket]
        found: dict[str, Item] = {}
        if buckets:
            found = yield from call(self.items.get_many, buckets)
        sums = msgspec.structs.replace(
            sums, feed=reader, numbers=_added(sums.numbers, more.pop(""))
        )
        writes: list[ItemChange] = [
            Put(
                self.items,
                FIRST,
                _plain(sums),
                text="",  # nobody is to find it by a search
                token=token,
                expected_token=first.token,
            )
        ]
        writes += there.regrouped(self.items, sums.series, now)
        for bucket, numbers in more.items():
            key = f"{sums.series}/b{bucket}"
            item = found.get(key)
            total = _added({} if item is None else _numbers_of(item), numbers)
            writes.append(Put(self.items, key, total, text="", expected=_version_of(item)))
        return writes, sums

    def _there(self, sums: Sums, numbers: Iterable[int]) -> Talk[_There]:
        """What is known of some sessions. Read after the first item: what others have written since
        makes its token another."""
        series = sums.series
        keys = dict.fromkeys(_group_key(series, number) for number in numbers)
        items: dict[str, Item] = yield from call(self.items.get_many, list(keys))
        groups = {key: _group_of(item) for key, item in items.items()}
        known: dict[int, Counted] = {}
        apart: dict[str, int] = {}
        for number in numbers:
            raw = groups.get(_group_key(series, number), {}).get(number)
            if raw == _ELSEWHERE:
                apart[_own_key(series, number)] = number
            elif raw is not None:
                known[number] = _one_of(raw)
        if apart:
            own: dict[str, Item] = yield from call(self.items.get_many, list(apart))
            if len(own) < len(apart):
                raise _Lost
            items.update(own)
            known.update({apart[key]: _one_of(item.value) for key, item in own.items()})
        return _There(items, groups, known)

    # -- what a change adds -------------------------------------------------------------------

    def _after(self, sums: Sums, known: Counted | None, change: Change) -> Counted | None:
        """What a session adds after a change; None where that was counted before."""
        version = NOTHING if known is None else known.version
        if change.now < version or (change.now == version and change.kind == "appended"):
            return None
        if change.session is None:  # the number stays, so that who is late does not bring it back
            return Counted(*change.now, b"", self.lesson.begin(), {})
        info = change.session
        name = name_digest(sums.salt, info.tenant, info.user, info.agent, info.key)
        going, numbers, heard = self.lesson.begin(), Numbers(), 0
        if change.kind == "appended":
            goes_on = known is not None and version.epoch == change.now.epoch
            if change.then.head and (not goes_on or version < change.then):
                raise _Lost  # what came before is not here
            if known is not None and goes_on:
                going, heard = known.going, version.head
                numbers = {name: list(row) for name, row in known.numbers.items()}
        messages = change.messages
        if heard:
            messages = [message for message in messages if (message.seq or 0) > heard]
        going = self.lesson.hear(going, numbers, messages, sums.salt)
        return Counted(*change.now, name, going, numbers)

    def _placed(self, more: Numbers) -> dict[str, Numbers]:
        """What is to be added, by the item that it is summed up in; "" is the first."""
        found: dict[str, Numbers] = {"": {}}
        for name, row in more.items():
            for bucket, there in self.lesson.places(name):
                add(found.setdefault(bucket, {}).setdefault(there, []), row)
        return found

    # -- items --------------------------------------------------------------------------------

    def _below(self, prefix: str) -> Talk[list[Item]]:
        found: list[Item] = []
        after: Item | None = None
        while True:
            page = yield from call(self.items.list, prefix=prefix, after=after, limit=_PAGE)
            found += page
            if len(page) < _PAGE:
                return found
            after = page[-1]


class _There(NamedTuple):
    """What is known of some sessions, and the items that it stands in."""

    items: dict[str, Item]
    groups: dict[str, dict[int, msgspec.Raw]]
    known: dict[int, Counted]

    def regrouped(self, into: Any, series: str, now: Mapping[int, Counted]) -> Iterable[ItemChange]:
        """The writes that put what sessions add in its place."""
        writes: list[ItemChange] = []
        changed: dict[str, dict[int, msgspec.Raw]] = {}
        for number, counted in now.items():
            key, own = _group_key(series, number), _own_key(series, number)
            if key not in changed:
                changed[key] = dict(self.groups.get(key, {}))
            one = _encode(counted)
            if len(one) > LARGEST:
                changed[key][number] = _ELSEWHERE
                expected = _version_of(self.items.get(own))
                writes.append(Put(into, own, one, text="", expected=expected))
                continue
            changed[key][number] = msgspec.Raw(one)
            if own in self.items:
                writes.append(Delete(into, own, expected=self.items[own]))
        for key, group in changed.items():
            expected = _version_of(self.items.get(key))
            writes.append(Put(into, key, _encode(group), text="", expected=expected))
        return writes


def numbers_of(one: Any) -> Numbers:
    """The numbers of what one session adds."""
    return _one_of(one).numbers


def name_digest(salt: bytes, tenant: str, user: str, agent: str, key: str) -> bytes:
    """Digest a session's name, by which it is found again."""
    return blake2b(_encode((tenant, user, agent, key)), key=salt, digest_size=8).digest()


def add(total: list[int], row: Sequence[int], sign: int = 1) -> None:
    """Add numbers to others in their places, or subtract them."""
    if len(total) < len(row):
        total += [0] * (len(row) - len(total))
    for place, number in enumerate(row):
        total[place] += sign * number


def _add_all(total: Numbers, more: Numbers, sign: int) -> None:
    for name, row in more.items():
        if name in total:
            add(total[name], row, sign)
        else:
            total[name] = [sign * number for number in row]


def _added(total: Numbers, more: Numbers) -> Numbers:
    """New sums; what is nothing at all is not kept."""
    found = {name: list(row) for name, row in total.items()}
    for name, row in more.items():
        add(found.setdefault(name, []), row)
    return {name: row for name, row in found.items() if any(row)}


def _plain(sums: Sums) -> dict[str, Any]:
    return msgspec.structs.asdict(sums)


def _sums_of(item: Item) -> Sums:
    try:
        return msgspec.convert(item.value, Sums)
    except msgspec.ValidationError as fault:
        raise _not_ours(item, fault) from fault


def _numbers_of(item: Item) -> Numbers:
    try:
        return msgspec.convert(item.value, Numbers)
    except msgspec.ValidationError as fault:
        raise _not_ours(item, fault) from fault


def _group_of(item: Item) -> dict[int, msgspec.Raw]:
    try:
        return _decode_group(item.value)
    except (msgspec.DecodeError, TypeError) as fault:
        raise _not_ours(item, fault) from fault


def _one_of(raw: Any) -> Counted:
    try:
        return _decode_one(raw)
    except (msgspec.DecodeError, TypeError) as fault:
        raise Damaged(f"What was learned of a session is damaged: {fault}. {_ANEW}") from fault


def _name_in(raw: Any) -> bytes:
    try:
        return _decode_name(raw).name
    except (msgspec.DecodeError, TypeError) as fault:
        raise Damaged(f"What was learned of a session is damaged: {fault}. {_ANEW}") from fault


def _not_ours(item: Item, fault: Exception) -> Damaged:
    where = "/".join(item.namespace)
    return Damaged(f"Item {item.key!r} of {where} is not what was written: {fault}. {_ANEW}")


_ANEW: Final = "forget() takes all of it away, and then it is learned anew from what was said."


def _version_of(item: Item | None) -> int:
    return 0 if item is None else item.version


def _group_key(series: str, number: int) -> str:
    return f"{series}/g{number // TOGETHER:012d}"


def _own_key(series: str, number: int) -> str:
    return f"{series}/s{number}"
