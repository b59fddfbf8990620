"""What an agent went through: events by session, and episodes that fade and can be summed up.

    memory = EpisodicMemory(store, agent_id="my-agent")
    memory.store_episode(Episode.conversation("my-agent", "What is Onrecord?", "A memory."))
    memory.search_episodes("memory", limit=5)

Nothing new is stored for them: an event is a message of a session, and an episode one or a few of
one append. So whatever looks after sessions looks after them, and what frameworks write under the
same agent are events too.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from html import escape
from typing import TYPE_CHECKING, Any, Final, Self

from onrecord.adapters.calls import Talk, atalk, call, talk
from onrecord.adapters.reference import check_store
from onrecord.adapters.stored import seq_of
from onrecord.arguments import (
    check_function,
    check_number,
    check_range,
    moment,
    whole_number,
)
from onrecord.errors import Conflict, Misconfigured, shown
from onrecord.hit import Hit, Hits
from onrecord.memory import consolidating
from onrecord.memory.doubt import Doubt
from onrecord.memory.episode import Episode
from onrecord.memory.episodic_reports import (
    Consolidation,
    EpisodeStatistics,
    EventStatistics,
    Forgetting,
)
from onrecord.memory.event import Event, event_of, message_of, newest_first
from onrecord.memory.findings import Findings
from onrecord.memory.marks import Place, mark_of, note_key_of, place_of
from onrecord.memory.notes import NOTHING, Notes
from onrecord.memory.relevance import FADING, Rule
from onrecord.memory.shelf import Shelf, is_pinned
from onrecord.memory.summarising import Summarise, Summariser, extract
from onrecord.plural import many
from onrecord.scope import ANY, AnyName, check_name
from onrecord.version import SessionInfo

if TYPE_CHECKING:
    from onrecord.message import Message
    from onrecord.session import Session
    from onrecord.store import Store

EPISODES: Final = "episodes"
"""The key of the session that holds an agent's episodes, where no other is named."""
SHOWN: Final = 20
"""Episodes that ``str()`` and a notebook show."""
_doubt: Final = Doubt()
"""Of all memories in this process: who tries again may have made a new one."""
_PAGE: Final = 50
_MOST_ATTEMPTS: Final = 5


class EpisodicMemory:
    """The episodic memory of one agent, of one user where one is named.

    Holds no connection, and of its own only how often episodes were used since it wrote that down:
    ``save_uses``, or the end of a ``with`` block.
    """

    def __init__(
        self,
        store: Store,
        *,
        agent_id: str,
        user: str = "",
        tenant: str = "",
        session: str = EPISODES,
        relevance: Rule = FADING,
        warn_above: int = 100_000,
        warn_below: float = 0.3,
    ) -> None:
        """
        store         an onrecord.Store
        agent_id      whose memory it is
        user, tenant  of whom, where an agent serves several
        session       the key of the session that holds the episodes
        relevance     a function of a ``Trace`` (age, uses, episode_type, importance) to a number
                      from 0 to 1; ``fading()`` if nothing is said
        warn_above    more episodes, or events, than this are a warning in the statistics
        warn_below    and so is an average relevance below this
        """
        check_store(store)
        check_name("agent_id", agent_id)
        check_function("relevance", relevance, "a function of a Trace to a number", plain=True)
        check_number("warn_above", warn_above, 0, 10**12)
        check_range("warn_below", warn_below, "a relevance", 0, 1)
        self.store = store
        self.agent_id, self.user, self.tenant = agent_id, user, tenant
        self._episodes = self._session(session)
        self._notes = Notes(self._episodes)
        self._shelf = Shelf(self._episodes, self._notes, relevance)
        self._warn_above, self._warn_below = warn_above, float(warn_below)

    # -- events ------------------------------------------------------------------------------------

    def record(
        self, event_type: str, payload: Any, session_id: str, *, timestamp: datetime | None = None
    ) -> Event:
        """Store an event in a session, durable when this returns.

        ``session_<role>`` with ``{"content": …, "tool_call": …}`` is a message of that role, as a
        framework writes it. Another type is a message of role user, whose text is the payload as
        JSON. The payload comes back equal.
        """
        return talk(self._recorded([(event_type, payload)], session_id, timestamp))[0]

    async def arecord(
        self, event_type: str, payload: Any, session_id: str, *, timestamp: datetime | None = None
    ) -> Event:
        """Like ``record``."""
        return (await atalk(self._recorded([(event_type, payload)], session_id, timestamp)))[0]

    def record_many(
        self,
        events: Sequence[tuple[str, Any]],
        session_id: str,
        *,
        timestamp: datetime | None = None,
    ) -> list[Event]:
        """Store several events, pairs of a type and a payload, all or none."""
        return talk(self._recorded(events, session_id, timestamp))

    async def arecord_many(
        self,
        events: Sequence[tuple[str, Any]],
        session_id: str,
        *,
        timestamp: datetime | None = None,
    ) -> list[Event]:
        """Like ``record_many``."""
        return await atalk(self._recorded(events, session_id, timestamp))

    def get_session(self, session_id: str) -> Findings[Event]:
        """Read all events of a session in their order, whoever wrote them."""
        return talk(self._of_session(session_id))

    async def aget_session(self, session_id: str) -> Findings[Event]:
        """Like ``get_session``."""
        return await atalk(self._of_session(session_id))

    def recent(self, limit: int = 20) -> Findings[Event]:
        """Read the newest events of all sessions of the agent, the newest first. Read are the ends
        of the sessions last active, at most ``limit`` of each."""
        return talk(self._recent(limit))

    async def arecent(self, limit: int = 20) -> Findings[Event]:
        """Like ``recent``."""
        return await atalk(self._recent(limit))

    def search(self, text: str, limit: int = 10, *, min_score: float = 0.0) -> Findings[Event]:
        """Find events in all sessions of the agent, the best first, by words, and by meaning where
        the store has an embedder: see ``Store.search``. What was said beside a hit comes behind it;
        ``min_score`` leaves out what answers too badly."""
        return talk(self._searched(text, limit, min_score))

    async def asearch(
        self, text: str, limit: int = 10, *, min_score: float = 0.0
    ) -> Findings[Event]:
        """Like ``search``."""
        return await atalk(self._searched(text, limit, min_score))

    def delete(self, id: str) -> bool:
        """Take one event away for good; whether it was there."""
        return talk(self._deleted(id))

    async def adelete(self, id: str) -> bool:
        """Like ``delete``."""
        return await atalk(self._deleted(id))

    def clear(self, session_id: AnyName = ANY) -> int:
        """Take everything away that this memory shows: all episodes, and all events of the agent in
        this scope, conversations that frameworks wrote among them; or those of one session.

        How many messages that was. The sessions stay, empty; ``store.erase`` takes them too.
        """
        return talk(self._cleared(session_id))

    async def aclear(self, session_id: AnyName = ANY) -> int:
        """Like ``clear``."""
        return await atalk(self._cleared(session_id))

    def statistics(self) -> EventStatistics:
        """Count events and the bytes they take. The database counts: no message is read."""
        return talk(self._statistics())

    async def astatistics(self) -> EventStatistics:
        """Like ``statistics``."""
        return await atalk(self._statistics())

    # -- episodes ----------------------------------------------------------------------------------

    def store_episode(self, episode: Episode) -> str:
        """Store an episode, durable when this returns, and return its id.

        The same episode again, after an answer that was lost, is stored once, however much was
        said since. Another process knows it again among the newest 64 messages of its session.
        """
        return talk(self._stored(episode))

    async def astore_episode(self, episode: Episode) -> str:
        """Like ``store_episode``."""
        return await atalk(self._stored(episode))

    def get_episode(self, id: str) -> Episode | None:
        """Read one episode, by its id or that of an event in it; None where there is none. Counts
        as a use."""
        return talk(self._got(id))

    async def aget_episode(self, id: str) -> Episode | None:
        """Like ``get_episode``."""
        return await atalk(self._got(id))

    def get_recent_episodes(self, limit: int = 10) -> Findings[Episode]:
        """Read the newest episodes, the newest first. Counts as no use."""
        return talk(self._newest(limit))

    async def aget_recent_episodes(self, limit: int = 10) -> Findings[Episode]:
        """Like ``get_recent_episodes``."""
        return await atalk(self._newest(limit))

    def search_episodes(
        self, text: str, limit: int = 10, *, min_score: float = 0.0
    ) -> Findings[Episode]:
        """Find episodes, each once, the best first, as ``search`` does. Counts as a use of each."""
        return talk(self._found(text, limit, min_score))

    async def asearch_episodes(
        self, text: str, limit: int = 10, *, min_score: float = 0.0
    ) -> Findings[Episode]:
        """Like ``search_episodes``."""
        return await atalk(self._found(text, limit, min_score))

    def delete_episode(self, id: str) -> bool:
        """Take an episode away for good, all of its messages; whether it was there."""
        return talk(self._episode_deleted(id))

    async def adelete_episode(self, id: str) -> bool:
        """Like ``delete_episode``."""
        return await atalk(self._episode_deleted(id))

    def pin(self, id: str) -> bool:
        """Keep an episode: it is never summed up and never forgotten. Whether it is there."""
        return talk(self._pinned(id, True))

    async def apin(self, id: str) -> bool:
        """Like ``pin``."""
        return await atalk(self._pinned(id, True))

    def unpin(self, id: str) -> bool:
        """Keep an episode no longer. Whether it is there."""
        return talk(self._pinned(id, False))

    async def aunpin(self, id: str) -> bool:
        """Like ``unpin``."""
        return await atalk(self._pinned(id, False))

    def get_statistics(self) -> EpisodeStatistics:
        """Count the episodes by type, and say how relevant they are on average: all messages are
        read, because relevance changes with time. ``statistics`` only counts."""
        return talk(self._episode_statistics())

    async def aget_statistics(self) -> EpisodeStatistics:
        """Like ``get_statistics``."""
        return await atalk(self._episode_statistics())

    def consolidate(
        self,
        older_than: timedelta | datetime,
        summarise: Summarise = extract,
        *,
        at_most: int = 50,
        dry_run: bool = False,
    ) -> Consolidation:
        """Put a summary in the place of each run of old episodes, and say which.

        ``summarise`` makes a text of a list of episodes; without one the beginnings of what was
        said are kept. ``at_most`` so many go into one summary. Pinned episodes, summaries and what
        stands alone stay as they are. ``dry_run`` only says which runs there are, and asks for no
        summary. All messages are read once. Several workers may do it at once; what one of them
        changed before another came to it is among ``skipped``.
        """
        return talk(self._consolidated(older_than, summarise, at_most, dry_run, False))

    async def aconsolidate(
        self,
        older_than: timedelta | datetime,
        summarise: Summarise = extract,
        *,
        at_most: int = 50,
        dry_run: bool = False,
    ) -> Consolidation:
        """Like ``consolidate``. ``summarise`` may be async; one that is not runs in a thread."""
        return await atalk(self._consolidated(older_than, summarise, at_most, dry_run, True))

    def forget(self, below: float, *, dry_run: bool = False) -> Forgetting:
        """Take the episodes away for good whose relevance is below this, and say which; pinned ones
        stay. ``dry_run`` only says which: look first. All messages are read once."""
        return talk(self._forgotten(below, dry_run))

    async def aforget(self, below: float, *, dry_run: bool = False) -> Forgetting:
        """Like ``forget``."""
        return await atalk(self._forgotten(below, dry_run))

    def save_uses(self) -> int:
        """Write down the uses that wait in this object, and say how many that was."""
        return talk(self._notes.save())

    async def asave_uses(self) -> int:
        """Like ``save_uses``."""
        return await atalk(self._notes.save())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.save_uses()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.asave_uses()

    def __str__(self) -> str:
        """The newest episodes for a prompt, the oldest of them first. Reads them."""
        return "\n".join(map(str, reversed(self.get_recent_episodes(SHOWN))))

    def __repr__(self) -> str:
        return f"EpisodicMemory({self._episodes!r})"

    def _repr_html_(self) -> str:
        return f"<div>{escape(repr(self))}</div>{self.get_recent_episodes(SHOWN)._repr_html_()}"

    # -- written once ------------------------------------------------------------------------------

    def _recorded(
        self, events: object, session_id: str, timestamp: datetime | None
    ) -> Talk[list[Event]]:
        session = self._session(session_id)
        moment("timestamp", timestamp)
        at = datetime.now(UTC) if timestamp is None else timestamp
        messages = [message_of(kind, payload, at) for kind, payload in _pairs(events)]
        stored = yield from call(session.append, messages)
        if messages:
            yield from self._notes.take_along()
        return [event_of(message, session_id) for message in stored]

    def _of_session(self, session_id: str) -> Talk[Findings[Event]]:
        session = self._session(session_id)

        def into(message: Message) -> Event:
            return event_of(message, session_id)

        found: list[Event] = yield from call(session.messages, into=into)
        return Findings(found)

    def _newest(self, limit: int) -> Talk[Findings[Episode]]:
        found = yield from self._shelf.newest(whole_number("limit", limit))
        return Findings(found)

    def _recent(self, limit: int) -> Talk[Findings[Event]]:
        limit = whole_number("limit", limit)
        found: list[Event] = []
        after: SessionInfo | None = None
        while limit:
            page = yield from call(self.store.sessions, **self._scope(), limit=_PAGE, after=after)
            for info in page:
                if len(found) == limit and _is_before(info, found[-1]):
                    return Findings(found)
                newest = yield from call(self._session(info.key).tail, limit)
                found += [event_of(message, info.key) for message in newest]
                found = sorted(found, key=newest_first)[:limit]
            if len(page) < _PAGE:
                break
            after = page[-1]
        return Findings(found)

    def _searched(self, text: str, limit: int, min_score: float) -> Talk[Findings[Event]]:
        hits: Hits = yield from call(
            self.store.search, text, **self._scope(), limit=limit, min_score=min_score
        )
        found = [event_of(hit.message, hit.info.key) for hit in hits]
        return Findings(found, complete=hits.complete)

    def _deleted(self, id: str) -> Talk[bool]:
        place = place_of(id)
        if place is None:
            return False
        session = self._session(place.session)
        for _ in range(_MOST_ATTEMPTS):
            found = yield from self._at(session, place)
            if not found:
                return False
            keys = [note_key_of(message) for message in found]
            drops = self._notes.dropped(keys) if self._is_ours(place) else []
            try:
                yield from call(session.exchange, found, items=drops)
            except Conflict:  # edited in this very moment
                continue
            self._notes.gone(keys)
            return True
        raise Conflict(f"Event {id!r} is edited all the time. Nothing was deleted. Try again.")

    def _cleared(self, session_id: AnyName) -> Talk[int]:
        if session_id is not ANY:
            return (yield from self._clear_one(self._session(session_id)))
        gone = 0
        after: SessionInfo | None = None
        keys: list[str] = []
        while True:  # the list before the first clear: a session that is cleared moves in it
            page = yield from call(self.store.sessions, **self._scope(), limit=_PAGE, after=after)
            keys += [info.key for info in page]
            if len(page) < _PAGE:
                break
            after = page[-1]
        for key in keys:
            gone += yield from self._clear_one(self._session(key))
        return gone

    def _clear_one(self, session: Session) -> Talk[int]:
        count = yield from call(session.count)
        if count:
            yield from call(session.clear)
        if session.name == self._episodes.name:
            yield from self._notes.clear()
        return count

    def _statistics(self) -> Talk[EventStatistics]:
        stats = yield from call(self.store.stats, **self._scope())
        return EventStatistics(
            total_events=stats.messages,
            sessions=stats.sessions,
            turns=stats.turns,
            tokens=stats.tokens,
            raw_bytes=stats.raw_bytes,
            stored_bytes=stats.stored_bytes,
            warnings=self._warnings(stats.messages, "event"),
        )

    def _stored(self, episode: Episode) -> Talk[str]:
        if not isinstance(episode, Episode):
            raise Misconfigured(
                f"store_episode() takes an Episode, not {shown(episode)}. Make one: "
                f"Episode.conversation({self.agent_id!r}, …)."
            )
        if episode.agent_id != self.agent_id:
            raise Misconfigured(
                f"This is an episode of {episode.agent_id!r}, and the memory of "
                f"{self.agent_id!r}. Nothing was stored."
            )
        there = yield from _doubt.stored(self._episodes, episode.messages)
        first = there.get(episode.messages[0].id)
        if first is None:
            first, *_ = yield from _doubt.append(self._episodes, episode.messages)
        yield from self._notes.take_along()
        return event_of(first, self._episodes.name.key).id

    def _got(self, id: str) -> Talk[Episode | None]:
        messages = yield from self._messages_of(id)
        if not messages:
            return None
        (episode,) = yield from self._shelf.episodes([messages])
        self._notes.used([note_key_of(messages[0])])
        return episode

    def _found(self, text: str, limit: int, min_score: float) -> Talk[Findings[Episode]]:
        limit = whole_number("limit", limit)
        several: dict[int, list[Message]] = {}
        taken: set[int] = set()
        complete, last = True, list[Hit]()
        while len(several) < limit:
            wanted = 2 * (limit - len(several))
            hits: Hits = yield from call(
                self._episodes.search,
                text,
                limit=wanted,
                min_score=min_score,
                after=last[-1] if last else None,
            )
            complete = complete and hits.complete
            for hit in hits:
                if seq_of(hit.message) in taken or len(several) == limit:
                    continue
                messages = yield from self._shelf.holding(seq_of(hit.message))
                if messages:
                    taken.update(map(seq_of, messages))
                    several[seq_of(messages[0])] = messages
            if len(hits) < wanted:
                break
            last = hits
        episodes = yield from self._shelf.episodes(several.values())
        self._notes.used(note_key_of(messages[0]) for messages in several.values())
        return Findings(episodes, complete=complete)

    def _episode_deleted(self, id: str) -> Talk[bool]:
        for _ in range(_MOST_ATTEMPTS):
            messages = yield from self._messages_of(id)
            if not messages:
                return False
            keys = [note_key_of(message) for message in messages]
            try:
                yield from call(self._episodes.exchange, messages, items=self._notes.dropped(keys))
            except Conflict:  # it was edited in this very moment
                continue
            self._notes.gone(keys)
            return True
        raise Conflict(f"Episode {id!r} is edited all the time. Nothing was deleted. Try again.")

    def _pinned(self, id: str, kept: bool) -> Talk[bool]:
        messages = yield from self._messages_of(id)
        if not messages:
            return False
        keys = [note_key_of(message) for message in messages]
        if not kept:
            notes = yield from self._notes.of(keys)
            keys = [key for key, note in notes.items() if note.pinned]
        try:
            for key in keys[:1] if kept else keys:
                yield from self._notes.pin(key, kept)
        except Conflict:  # the session was erased
            return False
        # After the note was written nobody takes the episode away; before it somebody may have.
        if (yield from self._messages_of(id)):
            return True
        yield from self._notes.delete(keys)
        return False

    def _episode_statistics(self) -> Talk[EpisodeStatistics]:
        parts = yield from self._shelf.parts()
        notes = yield from self._notes.all()
        stats = yield from call(self.store.stats, **self._scope())
        now, by_type, relevance = datetime.now(UTC), dict[str, int](), 0.0
        for part in parts:
            by_type[part.episode_type] = by_type.get(part.episode_type, 0) + 1
            relevance += self._shelf.relevance(part, notes.get(part.notes[0], NOTHING), now)
        total = len(parts)
        average = relevance / total if total else 0.0
        warnings = self._warnings(total, "episode")
        if total and average < self._warn_below:
            warnings += (
                f"The average relevance is {average:.2f}, below {self._warn_below:g}. "
                f"forget(below={self._warn_below:g}, dry_run=True) says what could go.",
            )
        return EpisodeStatistics(
            total_episodes=total,
            avg_relevance=average,
            by_type=dict(sorted(by_type.items())),
            messages=sum(len(part.seqs) for part in parts),
            pinned=sum(is_pinned(part, notes) for part in parts),
            uses=sum(notes.get(part.notes[0], NOTHING).uses for part in parts),
            raw_bytes=stats.raw_bytes,
            stored_bytes=stats.stored_bytes,
            warnings=warnings,
        )

    def _consolidated(
        self, older_than: object, summarise: Summarise, at_most: int, dry_run: bool, on_loop: bool
    ) -> Talk[Consolidation]:
        summariser = Summariser(summarise)
        if not on_loop:
            summariser.refuse_async()
        check_number("at_most", at_most, 2, consolidating.MOST_EPISODES)
        _check_flag("dry_run", dry_run)
        before = _before(older_than)
        yield from self._notes.take_along()
        return (
            yield from consolidating.consolidate(self._shelf, before, summarise, at_most, dry_run)
        )

    def _forgotten(self, below: float, dry_run: bool) -> Talk[Forgetting]:
        check_range("below", below, "a relevance", 0, 1)
        _check_flag("dry_run", dry_run)
        yield from self._notes.take_along()
        return (yield from consolidating.forget(self._shelf, below, dry_run))

    def _messages_of(self, id: str) -> Talk[list[Message]]:
        """The messages of the episode in which one stands; none, where it is not there."""
        place = place_of(id)
        if place is None or not self._is_ours(place):
            return []
        messages = yield from self._shelf.holding(place.seq)
        # Of one moment: else a summary of several might have come into this very place.
        there = ((seq_of(one), mark_of(one)) for one in messages)
        return messages if (place.seq, place.mark) in there else []

    def _at(self, session: Session, place: Place) -> Talk[list[Message]]:
        """The very message that has a place; none, where another one or none stands there."""
        after, before = max(place.seq - 1, 0), place.seq + 1
        found = yield from call(session.messages, after=after, before=before)
        return [message for message in found if mark_of(message) == place.mark]

    def _is_ours(self, place: Place) -> bool:
        return place.session == self._episodes.name.key

    def _session(self, key: str) -> Session:
        return self.store.session(key, **self._scope())

    def _scope(self) -> dict[str, Any]:
        return {"tenant": self.tenant, "user": self.user, "agent": self.agent_id}

    def _warnings(self, total: int, what: str) -> tuple[str, ...]:
        if total <= self._warn_above:
            return ()
        return (
            f"There {'is' if total == 1 else 'are'} {many(total, what)}, more than "
            f"{self._warn_above:,}. "
            f"consolidate(older_than=…, dry_run=True) says what could be summed up.",
        )


def _pairs(events: object) -> list[tuple[object, Any]]:
    if not isinstance(events, list | tuple):
        raise Misconfigured(f"events have to be a list of (type, payload), not {shown(events)}.")
    for event in events:
        if not isinstance(event, tuple) or len(event) != 2:
            raise Misconfigured(f"An event is a pair, (type, payload), not {shown(event)}.")
    return list(events)


def _is_before(info: SessionInfo, event: Event) -> bool:
    """Whether a session was last written to before an event, and so was every one after it."""
    return info.last_active is not None and info.last_active < event.timestamp


def _before(older_than: object) -> datetime:
    """The time before which an episode is old."""
    if isinstance(older_than, timedelta):
        if older_than < timedelta(0):
            raise Misconfigured(f"older_than cannot be below zero, and is {shown(older_than)}.")
        now = datetime.now(UTC)
        return now - min(older_than, now - datetime.min.replace(tzinfo=UTC))
    if not isinstance(older_than, datetime):
        raise Misconfigured(
            f"older_than has to be a timedelta or a datetime with a time zone, not "
            f"{shown(older_than)}."
        )
    moment("older_than", older_than)
    return older_than


def _check_flag(what: str, given: object) -> None:
    if not isinstance(given, bool):
        raise Misconfigured(f"{what} has to be True or False, not {shown(given)}.")
