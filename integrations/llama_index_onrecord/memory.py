"""A memory for LlamaIndex's agents and chat engines whose calls do not get dearer with time.

What a model sees is a window: the newest messages that fit, torn nowhere. What falls out of it
goes to the memory blocks, if there are any, and stays in the transcript in any case.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict
from dataclasses import fields as dataclass_fields
from functools import partial
from typing import Any, Final, Literal, TypeAlias
from uuid import uuid4

from llama_index.core.base.llms.types import ChatMessage, ContentBlock, MessageRole, TextBlock
from llama_index.core.llms import LLM
from llama_index.core.memory import BaseMemory, BaseMemoryBlock, InsertMethod
from llama_index.core.memory.memory import DEFAULT_MEMORY_BLOCKS_TEMPLATE, DEFAULT_TOKEN_LIMIT
from llama_index.core.prompts import RichPromptTemplate
from pydantic import Field, InstanceOf, PrivateAttr, field_serializer, field_validator

from llama_index_onrecord.block_feeder import Feeder, waited
from llama_index_onrecord.memory_block import OnrecordMemoryBlock
from llama_index_onrecord.memory_turn import MemoryTurn
from llama_index_onrecord.messages import from_llama_index, spoken, to_llama_index
from llama_index_onrecord.reminder import query_in, with_reminder, words_of
from llama_index_onrecord.shown import Shown
from llama_index_onrecord.summary import check_summary, gist_of, going_on, since
from llama_index_onrecord.window_memo import LastShown
from onrecord import Conflict, Message, Misconfigured, Session, Store, Window
from onrecord.adapters.calls import OnlyContent, Talk, atalk, call, talk
from onrecord.adapters.recalling import Recall, recall_settings
from onrecord.adapters.reference import StoreReference
from onrecord.adapters.stored import seq_of
from onrecord.adapters.turns import TurnSettings, turn_settings
from onrecord.arguments import check_above_zero, check_choice, check_settings, whole_number
from onrecord.gist import NO_GIST
from onrecord.memory.reminding import fitting
from onrecord.memory.summary import Summariser
from onrecord.tokens import estimate

_MOST_SUMMARY: Final = 1_000
"""Tokens that a summary may take."""
Content: TypeAlias = "str | list[ContentBlock] | list[ChatMessage]"
"""What a memory block has to say."""


class OnrecordMemory(BaseMemory):
    """One conversation in an Onrecord store, as ``memory=`` of an agent or a chat engine.

    Dumps and pickles name the store and the conversation and hold no message. ``memory_blocks``,
    ``summary`` and ``token_counter`` are not dumped. In the process that dumped it they are found
    again, as between two runs on one ``Context``; elsewhere give them again,
    ``OnrecordMemory.from_dict(dump, memory_blocks=[...])``. Without them it shows a window of
    everything.

    With blocks each message that falls out is given to each block exactly once, by the block's
    name, however many workers share the conversation; so what a block remembers has to be where
    all of them find it. A block that raises, or takes longer than ``feed_timeout``, is given the
    same messages again at the next put, and the error is raised when the new messages are
    durable. If a worker dies in the middle, its blocks are given theirs by another one after
    twice ``feed_timeout``: then a block may see messages twice. What is cleared or replaced is not
    taken back from the blocks.
    """

    store: str = Field(description="Which store: its address, without a password.")
    session_id: str = Field(
        default_factory=lambda: str(uuid4()), description="Which conversation this is."
    )
    tenant: str = Field(default="", description="Whose conversation it is.")
    user: str = Field(default="", description="Whose conversation it is.")
    agent: str = Field(default="", description="Whose conversation it is.")
    token_limit: int = Field(
        default=DEFAULT_TOKEN_LIMIT, description="The most tokens that a model is shown."
    )
    chat_history_token_ratio: float = Field(
        default=0.7,
        description="How much of that is for messages where there are memory blocks.",
    )
    token_flush_size: int | None = Field(
        default=None, description="How many tokens fall out at once. A tenth of the limit for None."
    )
    feed_timeout: float = Field(
        default=300.0, description="The most seconds that a block may take for a batch."
    )
    insert_method: InsertMethod = Field(
        default=InsertMethod.SYSTEM,
        description="Whether blocks speak in the system message or in the latest user message.",
    )
    memory_blocks_template: RichPromptTemplate = Field(
        default=DEFAULT_MEMORY_BLOCKS_TEMPLATE, description="How blocks are put into words."
    )
    recall: InstanceOf[Recall] | None = Field(
        default=None, description="What a model is reminded of beside the newest messages."
    )
    summary: Any = Field(
        default=None,
        exclude=True,
        description="What makes a summary of messages that fall out: an LLM, or a function.",
    )
    turn: InstanceOf[TurnSettings] | None = Field(
        default=None, description="How long others wait for the answer to what a user says."
    )
    on_reset: Literal["new", "clear"] = Field(
        default="new",
        description="Whether a reset begins a new conversation, or takes all messages away.",
    )
    memory_blocks: list[BaseMemoryBlock] = Field(  # type: ignore[type-arg]
        default_factory=list, exclude=True, description="What is given what falls out."
    )
    token_counter: Callable[[Any], int] | None = Field(
        default=None,
        exclude=True,
        description="Counts an onrecord.Message; otherwise the store's own counts hold.",
    )
    _reference: StoreReference = PrivateAttr()
    _last: LastShown = PrivateAttr(default_factory=LastShown)
    _turn: MemoryTurn = PrivateAttr(default_factory=MemoryTurn)

    def __init__(self, store: Store | str, **fields: Any) -> None:
        """
        store    an onrecord.Store, made once for the process; or, in what was dumped, its name:
                 the store is found by it when it is first needed
        fields   see ``from_defaults``
        """
        known = (*type(self).model_fields, "class_name")
        theirs = next((name for name in sorted(fields.keys() - set(known)) if name in _OURS), None)
        why = (
            "A misspelt tenant= or user= would let strangers read each other."
            if theirs is None
            else f"{theirs} is of LlamaIndex's own memories; here it is {_OURS[theirs]}."
        )
        check_settings("OnrecordMemory", fields, known, why)
        check_choice("on_reset", fields.get("on_reset", "new"), ("new", "clear"))
        check_summary(fields.get("summary"))
        recall = _made(Recall, "recall", fields.get("recall"))
        fields["recall"] = recall_settings(recall, fields.get("user", ""))
        fields["turn"] = turn_settings(_made(TurnSettings, "turn", fields.get("turn")))
        reference = StoreReference(store)
        fields["store"] = reference.name
        if isinstance(store, str):
            fields = {**_given.get(_conversation(fields), {}), **fields}
        super().__init__(**fields)
        self._reference = reference
        if self._is_more_than_dumped():
            _remember(_conversation(fields), self)
        names = [block.name for block in self.memory_blocks]
        if len(names) != len(set(names)):
            raise Misconfigured(f"Memory blocks need names of their own: {', '.join(names)}.")
        whole_number("token_limit", self.token_limit, 1)
        check_above_zero("chat_history_token_ratio", self.chat_history_token_ratio, 1)
        check_above_zero("feed_timeout", self.feed_timeout)

    @classmethod
    def class_name(cls) -> str:
        """The name of this class in dumps."""
        return "OnrecordMemory"

    @classmethod
    def from_defaults(
        cls,
        session_id: str | None = None,
        store: Store | str | None = None,
        token_limit: int = DEFAULT_TOKEN_LIMIT,
        memory_blocks: Sequence[BaseMemoryBlock[Any]] | None = None,
        tenant: str = "",
        user: str = "",
        agent: str = "",
        chat_history_token_ratio: float = 0.7,
        token_flush_size: int | None = None,
        insert_method: InsertMethod | str = InsertMethod.SYSTEM,
        memory_blocks_template: RichPromptTemplate | str = DEFAULT_MEMORY_BLOCKS_TEMPLATE,
        token_counter: Callable[[Message], int] | None = None,
        feed_timeout: float = 300.0,
        on_reset: Literal["new", "clear"] = "new",
        recall: bool | Recall = False,
        summary: LLM | Summariser | None = None,
        turn: bool | TurnSettings = False,
        chat_history: Sequence[ChatMessage] | None = None,
        llm: Any = None,
        **others: Any,
    ) -> OnrecordMemory:
        """Make the memory of a conversation, a new one where no ``session_id`` is given.

        ``chat_history`` is how the conversation begins; where something was said already it
        changes nothing. ``llm`` is what chat engines pass to every memory; it is not used.
        """
        memory = cls(
            store=store,  # type: ignore[arg-type]  # None is refused there
            session_id=str(uuid4()) if session_id is None else session_id,
            token_limit=token_limit,
            memory_blocks=list(memory_blocks or ()),
            tenant=tenant,
            user=user,
            agent=agent,
            chat_history_token_ratio=chat_history_token_ratio,
            token_flush_size=token_flush_size,
            insert_method=insert_method,
            memory_blocks_template=memory_blocks_template,
            token_counter=token_counter,
            feed_timeout=feed_timeout,
            on_reset=on_reset,
            recall=recall,
            summary=summary,
            turn=turn,
            **others,
        )
        if chat_history:
            with suppress(Conflict):  # a program that is started again says again how it begins
                memory.session.append(list(map(from_llama_index, chat_history)), expected=0)
        return memory

    @property
    def session(self) -> Session:
        """The conversation in the store."""
        scope = {"tenant": self.tenant, "user": self.user, "agent": self.agent}
        return self._reference.store.session(self.session_id, **scope)

    # -- sync --------------------------------------------------------------------------------

    def get(
        self, input: str | ChatMessage | None = None, initial_token_count: int = 0, **kwargs: Any
    ) -> list[ChatMessage]:
        """Read what a model is to see: the newest messages that fit, what is recalled beside
        them, and what the blocks say.

        ``input`` is what is asked, by default the newest message of the user: it is for recalling
        and for the blocks, and ``kwargs`` are for the blocks. ``initial_token_count`` are tokens
        that the caller needs for something else.
        """
        if self.memory_blocks:
            return waited(self.aget(input, initial_token_count, **kwargs))
        return talk(self._shown(input, initial_token_count))

    def get_all(self) -> list[ChatMessage]:
        """Read everything that was ever said, oldest first."""
        return self.session.messages(into=OnlyContent(to_llama_index))

    def put(self, message: ChatMessage) -> None:
        """Append a message."""
        self.put_messages([message])

    def put_messages(self, messages: Sequence[ChatMessage]) -> None:
        """Append messages, all or none."""
        if self._feeding():
            waited(self.aput_messages(messages))
        else:
            talk(self._said(self.session, messages))

    def set(self, messages: Sequence[ChatMessage]) -> None:
        """Put messages in the place of all there are, at once. To the blocks they are new."""
        talk(self._set(messages))

    def reset(self) -> None:
        """Begin a new conversation, with a ``session_id`` of its own. The old one stays stored.

        LlamaIndex resets a memory before the first word of ``chat_repl()``. ``on_reset="clear"``
        takes all messages away for good instead. The blocks keep what they have.
        """
        talk(self._reset())

    # -- async -------------------------------------------------------------------------------

    async def aget(
        self, input: str | ChatMessage | None = None, initial_token_count: int = 0, **kwargs: Any
    ) -> list[ChatMessage]:
        """Like ``get``."""
        if not self.memory_blocks:
            return await atalk(self._shown(input, initial_token_count))
        await atalk(self._asked(input))
        history = await self._active(self._room(initial_token_count))
        summary = self._summary_in_words(history, initial_token_count)
        words = await atalk(self._recalled(input, initial_token_count, history))
        contents = await self._contents(history, input, kwargs)
        taken = sum(self._tokens(said) for said in (words, summary) if said)
        await self._shorten(contents, history.tokens + taken + initial_token_count)
        return self._inserted(self._reminded(history, words, summary), contents)

    async def aget_all(self) -> list[ChatMessage]:
        """Like ``get_all``."""
        return await self.session.amessages(into=OnlyContent(to_llama_index))

    async def aput(self, message: ChatMessage) -> None:
        """Like ``put``."""
        await self.aput_messages([message])

    async def aput_messages(self, messages: Sequence[ChatMessage]) -> None:
        """Like ``put_messages``."""
        session = self.session
        await atalk(self._said(session, messages))
        if blocks := self._feeding():
            flush = self.token_flush_size or self.token_limit // 10
            feeder = Feeder(
                session,
                {block.name: partial(self._give, block) for block in blocks},
                tokens=self._room(),
                flush=max(1, flush),
                counter=self.token_counter,
                timeout=self.feed_timeout,
            )
            await feeder.feed()

    async def aset(self, messages: Sequence[ChatMessage]) -> None:
        """Like ``set``."""
        await atalk(self._set(messages))

    async def areset(self) -> None:
        """Like ``reset``."""
        await atalk(self._reset())

    # -- what is said ------------------------------------------------------------------------

    def _said(self, session: Session, messages: Sequence[ChatMessage]) -> Talk[None]:
        messages = spoken(messages)
        ours = list(map(from_llama_index, messages))  # first: it says what is none

        def append(session: Session) -> Talk[list[Message]]:
            self._last.outdate()
            since = self._last.since(messages)
            return (yield from call(session.append, ours, expected=since))

        yield from self._written(session, messages, append)

    def _set(self, messages: Sequence[ChatMessage]) -> Talk[None]:
        self._last.end_turn()
        messages = spoken(messages)
        ours = list(map(from_llama_index, messages))
        yield from self._written(self.session, messages, lambda one: call(one.replace, ours))

    def _written(
        self,
        session: Session,
        messages: Sequence[ChatMessage],
        write: Callable[[Session], Talk[object]],
    ) -> Talk[None]:
        """Write, and in a turn if there is to be one."""
        if self.turn is None or not messages:
            yield from write(session)
        else:
            yield from self._turn.written(session, self.turn, messages, write)

    def _asked(self, given: object) -> Talk[None]:
        """Begin a turn with what is asked, or go on with the one there is. An engine that stores a
        question with its answer asks for the history first, and says for what."""
        if self.turn is None:
            return
        if given is None:
            yield from self._turn.heard(self.session)
        else:
            yield from self._turn.begun(self.session, self.turn)

    def _reset(self) -> Talk[None]:
        yield from self._turn.end()
        self._last.end_turn()
        if self.on_reset == "clear":
            yield from call(self.session.clear)
            return
        self.session_id = str(uuid4())
        if self._is_more_than_dumped():
            _remember(_conversation(dict(self)), self)

    def _is_more_than_dumped(self) -> bool:
        return bool(self.memory_blocks or self.token_counter or self.summary is not None)

    # -- what a model is to see --------------------------------------------------------------

    def _room(self, taken: int = 0) -> int:
        """Compute how many tokens there are for the newest messages."""
        kept_free = self._room_to_recall(taken) + self._room_to_summarise(taken)
        return max(1, self._for_messages(taken) - kept_free)

    def _room_to_recall(self, taken: int) -> int:
        """Compute how many of them are kept free for what is recalled: never more than half."""
        most = 0 if self.recall is None else self.recall.tokens
        return max(0, min(most, self._for_messages(taken) // 2))

    def _room_to_summarise(self, taken: int) -> int:
        """Compute how many are kept free for a summary: never more than a quarter."""
        most = 0 if self.summary is None else _MOST_SUMMARY
        return max(0, min(most, self._for_messages(taken) // 4))

    def _for_messages(self, taken: int) -> int:
        share = self.chat_history_token_ratio if self.memory_blocks else 1.0
        return int(self.token_limit * share) - taken

    def _shown(self, given: str | ChatMessage | None, taken: int) -> Talk[list[ChatMessage]]:
        yield from self._asked(given)
        window = yield from self._last.window(self.session, self._room(taken), self.token_counter)
        if self.summary is not None:
            settings = {"tokens": self._room(taken), "token_counter": self.token_counter}
            window = yield from going_on(self.session, window, self.summary, settings)
        words = yield from self._recalled(given, taken, window)
        return self._reminded(window, words, self._summary_in_words(window, taken))

    def _summary_in_words(self, window: Window, taken: int) -> str:
        if not window.summary:
            return ""
        room = self._room_to_summarise(taken)
        return fitting(window.summary, room, self.token_counter or estimate)

    def _reminded(self, window: Window, words: str, summary: str) -> list[ChatMessage]:
        """Put what was recalled before a window, and a summary before that."""
        # One behind the other where both are system messages, else one before the other.
        is_system = self.insert_method is InsertMethod.SYSTEM
        shown = list(map(to_llama_index, window))
        for said in (summary, words) if is_system else (words, summary):
            shown = with_reminder(shown, said, self.insert_method)
        return shown

    def _recalled(self, given: str | ChatMessage | None, taken: int, window: Window) -> Talk[str]:
        """Recall what answers the question and is not in the window, in words."""
        settings = self.recall
        if settings is None:
            return ""
        query, room = query_in(given, window), self._room_to_recall(taken)
        asked = (self.session.name, self.token_counter, query, room)
        known = self._last.recalled(asked, window) if settings.across == "session" else None
        if known is None:
            counter = self.token_counter or estimate
            known = yield from words_of(self.session, settings, query, window, room, counter)
            self._last.note_recalled(asked, window, known)
        return known

    async def _active(self, tokens: int) -> Window:
        """Read the window without what has fallen out: for that the blocks speak."""
        session = self.session
        window = await session.awindow(tokens=tokens, token_counter=self.token_counter)
        self._last.note(window)
        left, upto = list(window), window.fallen
        if self._feeding() and left:
            seqs = [seq_of(message) for message in left]
            after, before = min(seqs) - 1, max(seqs) + 1
            fallen = set(
                await session.amessages(
                    archived=True, after=after, before=before, into=lambda m: m.seq
                )
            )
            left = [message for message in left if message.seq not in fallen]
            upto = max([upto, *(seq for seq in fallen if seq)])
        gist = NO_GIST
        if self.summary is not None:
            settings = {"tokens": tokens, "token_counter": self.token_counter}
            gist = await atalk(gist_of(session, self.summary, upto, settings))
            left = since(gist, left) if gist else left
        active = Window.of(left, repair=True, token_counter=self.token_counter)
        active.summary = gist
        return active

    # -- memory blocks -----------------------------------------------------------------------

    def _feeding(self) -> list[BaseMemoryBlock[Any]]:
        """Find the blocks that want what falls out: of one over this very store it is known."""
        return [
            block
            for block in self.memory_blocks
            if block.accept_short_term_memory and not self._is_over_ours(block)
        ]

    def _is_over_ours(self, block: BaseMemoryBlock[Any]) -> bool:
        return isinstance(block, OnrecordMemoryBlock) and block.is_over(self._reference.store)

    @property
    def _name_for_blocks(self) -> str:
        """Make the name by which blocks tell conversations apart. It holds the scope: a wall."""
        scope = [self.tenant, self.user, self.agent]
        if not any(scope) and not self.session_id.startswith("["):
            return self.session_id
        return json.dumps([*scope, self.session_id], ensure_ascii=False)

    def _give(self, block: BaseMemoryBlock[Any], messages: Sequence[Message]) -> Awaitable[None]:
        # Made anew for each block: they write into them.
        return block.aput(
            list(map(to_llama_index, messages)),
            from_short_term_memory=True,
            session_id=self._name_for_blocks,
        )

    async def _contents(
        self, history: Window, given: str | ChatMessage | None, settings: dict[str, Any]
    ) -> dict[str, Content]:
        """Ask each block what it has to say, those of the highest number first."""
        asked = ChatMessage(role="user", content=given) if isinstance(given, str) else given
        contents: dict[str, Content] = {}
        shown = Shown.of(self.session, history)
        for block in sorted(self.memory_blocks, key=lambda block: -block.priority):
            heard = [*map(to_llama_index, history), *([] if asked is None else [asked])]
            ours = {"shown": shown} if self._is_over_ours(block) else {}
            told = {"session_id": self._name_for_blocks, **ours, **settings}
            content = await block.aget(heard, **told)
            if not isinstance(content, str | list | None):
                raise Misconfigured(
                    f"Memory block {block.name!r} gave a {type(content).__name__}; it has to give "
                    f"text, content blocks or messages."
                )
            if content:
                contents[block.name] = content
        return contents

    async def _shorten(self, contents: dict[str, Content], taken: int) -> None:
        """Make what blocks say fit: the lowest number above 0 gives way first, 0 never does."""
        over = taken + sum(map(self._tokens, contents.values())) - self.token_limit
        giving = [b for b in sorted(self.memory_blocks, key=lambda b: b.priority) if b.priority]
        for shortened in (True, False):  # and what was shortened in vain goes altogether
            for block in giving:
                if over <= 0:
                    return
                content = contents.pop(block.name, None)
                if content is None:
                    continue
                left = await block.atruncate(content, over) if shortened else None
                over -= self._tokens(content)
                if left:
                    over += self._tokens(left)
                    contents[block.name] = left

    def _tokens(self, content: Content) -> int:
        parts: list[Any] = [TextBlock(text=content)] if isinstance(content, str) else [*content]
        messages = [part for part in parts if isinstance(part, ChatMessage)]
        if blocks := [part for part in parts if not isinstance(part, ChatMessage)]:
            messages.append(ChatMessage(role=MessageRole.SYSTEM, blocks=blocks))
        count = self.token_counter or estimate
        return sum(count(from_llama_index(message)) for message in messages)

    def _inserted(
        self, history: list[ChatMessage], contents: dict[str, Content]
    ) -> list[ChatMessage]:
        """Insert what blocks say into the history: messages in front, the rest inside of one."""
        messages: list[ChatMessage] = []
        told: list[tuple[str, list[Any]]] = []
        for block in self.memory_blocks:
            content: Any = contents.get(block.name)
            match content:
                case None:
                    pass
                case str(text):
                    told.append((block.name, [TextBlock(text=text)]))
                case [ChatMessage(), *_]:
                    # Copies: what is inserted below must not stay in the block's own.
                    messages.extend(message.model_copy() for message in content)
                case blocks:
                    told.append((block.name, blocks))
        result = [*messages, *history]
        formed = self.memory_blocks_template.format_messages(memory_blocks=told) if told else []
        if not formed:
            return result
        words = formed[0].blocks
        if self.insert_method is InsertMethod.SYSTEM:
            role, places, end = MessageRole.SYSTEM, range(len(result)), 0
        else:
            role, places, end = MessageRole.USER, range(len(result))[::-1], len(result)
        for i in places:
            if result[i].role is role:
                result[i].blocks = [*words, *result[i].blocks]
                return result
        result.insert(end, ChatMessage(role=role, blocks=words))
        return result

    def __copy__(self) -> OnrecordMemory:
        copied = super().__copy__()
        copied._turn = MemoryTurn()  # what this one holds, the copy does not
        return copied

    def __repr__(self) -> str:
        return f"OnrecordMemory({self.session.name} in {self.store!r})"

    __str__ = __repr__

    def _repr_html_(self) -> str:
        return self.session._repr_html_()

    # -- dumps -------------------------------------------------------------------------------

    @field_validator("memory_blocks_template", mode="before")
    @classmethod
    def _template(cls, given: Any) -> Any:
        if given is None:
            return DEFAULT_MEMORY_BLOCKS_TEMPLATE
        return RichPromptTemplate(given) if isinstance(given, str) else given

    @field_serializer("memory_blocks_template")
    def _template_dumped(self, template: RichPromptTemplate) -> str | None:
        words = template.template_str
        return None if words == DEFAULT_MEMORY_BLOCKS_TEMPLATE.template_str else words

    @field_serializer("recall", "turn")
    def _settings_dumped(self, settings: Recall | TurnSettings | None) -> dict[str, Any] | None:
        return None if settings is None else asdict(settings)

    @field_serializer("insert_method")
    def _method_dumped(self, method: InsertMethod) -> str:
        return method.value


_OURS: Final = {
    "chat_store": "store=, an onrecord.Store",
    "sql_store": "store=, an onrecord.Store",
    "async_engine": "store=, made by Store(engine=…)",
    "async_database_uri": "store=, made by Store(url)",
    "table_name": "store=, which names its tables",
    "db_schema": "store=, made by Store(url, schema=…)",
    "chat_store_key": "session_id=",
    "tokenizer_fn": "token_counter=, a function of an onrecord.Message",
}
"""What LlamaIndex's own memories are told, and how this one is told it."""


def _made(kind: type[Recall | TurnSettings], name: str, given: object) -> object:
    """Make what was dumped what it was."""
    if not isinstance(given, dict):
        return given
    check_settings(name, given, (field.name for field in dataclass_fields(kind)))
    return kind(**given)


_given: dict[tuple[object, ...], dict[str, Any]] = {}
"""The blocks and counters that conversations were last given in this process."""
_MOST_GIVEN: Final = 1_024


def _conversation(fields: Mapping[str, Any]) -> tuple[object, ...]:
    return tuple(
        fields.get(name, "") for name in ("store", "tenant", "user", "agent", "session_id")
    )


def _remember(conversation: tuple[object, ...], memory: OnrecordMemory) -> None:
    """Remember blocks and counter of a conversation. A Context dumps its memory after a run and
    restores it for the next, and neither blocks nor counters can be dumped: from the second run on
    a model would see what no block had told it."""
    _given.pop(conversation, None)
    while len(_given) >= _MOST_GIVEN:
        _given.pop(next(iter(_given)))
    _given[conversation] = {
        "memory_blocks": memory.memory_blocks,
        "token_counter": memory.token_counter,
        "summary": memory.summary,
    }
