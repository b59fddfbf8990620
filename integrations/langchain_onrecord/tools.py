"""Tools with which an agent remembers, forgets, and looks up what was said.

Whose memories these are is the developer's word, never the model's: it is given when the tools are
made, or found in the runtime of the call.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from inspect import getdoc
from typing import TYPE_CHECKING, Annotated, Any, Final, TypeAlias

from langchain.tools import ToolRuntime
from langchain_core.tools import BaseTool, StructuredTool, ToolException

from langchain_onrecord.names import Named, check_names, names_of
from onrecord import Hit, InvalidName, InvalidValue, Item, ItemHit
from onrecord.adapters.calls import Talk, atalk, call, talk
from onrecord.adapters.recalling import RELEVANT
from onrecord.adapters.reference import check_store
from onrecord.blocks import text_of

if TYPE_CHECKING:
    from onrecord import Items, Store

_NAMESPACE: Final = "memories"
_MOST: Final = 20
"""So many are found at the most, whatever the model asks for."""
_LONGEST_QUERY: Final = 4_096
_LONGEST: Final = 500
"""Characters that are shown of one memory or message."""
_OURS: Final = ("search_memory", "remember", "forget")

Runtime: TypeAlias = ToolRuntime[Any, Any]
Query = Annotated[
    str, "What to look for, in words that it was said in. Empty: what was remembered last."
]
Limit = Annotated[int, "How many of each kind at the most, up to 20."]
Key = Annotated[str, 'A short name, such as "city" or "likes: tea". What has it is replaced.']
Text = Annotated[str, "What is to be remembered, as a sentence that stands for itself."]
Forgotten = Annotated[str, "The name in brackets that search_memory shows before it."]


def memory_tools(
    store: Store, *, user: Named, tenant: Named = "", agent: Named = ""
) -> list[BaseTool]:
    """Make the tools ``search_memory``, ``remember`` and ``forget`` for an agent.

    ``tenant``, ``user`` and ``agent`` are names, or functions of the runtime of a call:
    ``user=lambda runtime: runtime.context.user_id``. What is remembered are items,
    ``store.items("memories", user=…)``; conversations are searched in the same scope.
    """
    check_store(store)
    named = {"tenant": tenant, "user": user, "agent": agent}
    check_names(named)
    memories = _Memories(store, named)

    def search_memory(query: Query, limit: Limit = 5, runtime: Runtime = _OUTSIDE) -> str:
        """Search what you remember about the user, and what was said in earlier conversations.

        Use it when the user refers to something that you do not see here. What is remembered comes
        with its name in brackets, what was said with its conversation and place.
        """
        return talk(memories.found(query, limit, runtime))

    async def asearch_memory(query: Query, limit: Limit = 5, runtime: Runtime = _OUTSIDE) -> str:
        return await atalk(memories.found(query, limit, runtime))

    def remember(key: Key, text: Text, runtime: Runtime = _OUTSIDE) -> str:
        """Remember something about the user for all later conversations.

        Use it when the user says something that will matter again, or asks you to remember it. What
        is remembered under the same name is replaced.
        """
        return talk(memories.remembered(key, text, runtime))

    async def aremember(key: Key, text: Text, runtime: Runtime = _OUTSIDE) -> str:
        return await atalk(memories.remembered(key, text, runtime))

    def forget(key: Forgotten, runtime: Runtime = _OUTSIDE) -> str:
        """Forget something that was remembered about the user, for good.

        Use it when it is no longer true, or the user asks you to forget it.
        """
        return talk(memories.forgotten(key, runtime))

    async def aforget(key: Forgotten, runtime: Runtime = _OUTSIDE) -> str:
        return await atalk(memories.forgotten(key, runtime))

    return [
        StructuredTool.from_function(
            func=now, coroutine=later, description=getdoc(now), handle_tool_error=True
        )
        for now, later in (
            (search_memory, asearch_memory),
            (remember, aremember),
            (forget, aforget),
        )
    ]


_OUTSIDE: Any = None
"""The runtime of a tool that somebody calls outside of an agent."""


class _Memories:
    """What the tools do, written once for sync and async."""

    def __init__(self, store: Store, named: Mapping[str, Named]) -> None:
        self._store = store
        self._named = named

    def found(self, query: str, limit: int, runtime: Any) -> Talk[str]:
        """What is remembered, and what was said, as short text."""
        scope: dict[str, Any] = self._scope(runtime)
        limit = max(1, min(limit, _MOST))
        items = self._store.items(_NAMESPACE, **scope)
        remembered = yield from _memories_for(items, query, limit)
        shown_now = _ids_in(runtime)
        hits = yield from call(
            self._store.search,
            query[:_LONGEST_QUERY],
            limit=limit + len(shown_now) + _MOST,
            min_score=RELEVANT,
            **scope,
        )
        said = [hit for hit in hits if hit.message.id not in shown_now and not _is_ours(hit)]
        lines: list[str] = []
        if remembered:
            lines += ["Remembered:", *map(_line_of, remembered)]
        if said:
            lines += ["Said in conversations:", *map(_quoted, said[:limit])]
        if not hits.complete:
            lines.append("There was no time to look at everything.")
        return "\n".join(lines) or "Nothing was found."

    def remembered(self, key: str, text: str, runtime: Any) -> Talk[str]:
        """Make it durable, and say so."""
        items = self._store.items(_NAMESPACE, **self._scope(runtime))
        try:
            # Found by its name as well: "city" stands nowhere in "Lyon".
            item = yield from call(items.put, key.strip(), text, text=f"{key.strip()}: {text}")
        except (InvalidName, InvalidValue) as fault:  # the model can choose another
            raise ToolException(f"Not remembered: {fault}") from fault
        replaced = item.created_at != item.updated_at
        return f"Remembered: [{item.key}]{' in the place of what it was.' if replaced else ''}"

    def forgotten(self, key: str, runtime: Any) -> Talk[str]:
        """Take it away for good, and say so."""
        items = self._store.items(_NAMESPACE, **self._scope(runtime))
        try:
            was_there = yield from call(items.delete, key.strip())
        except InvalidName:  # then nothing can have it
            was_there = False
        if not was_there:
            raise ToolException(
                f"Nothing is remembered as [{key}]. Search for it, and take the name in brackets."
            )
        return f"Forgotten: [{key.strip()}]"

    def _scope(self, runtime: Any) -> dict[str, str]:
        scope = names_of(self._named, runtime)
        if scope["user"] == "" and self._named["user"] != "":
            # Whoever has no name is not one person.
            raise ToolException("It is not known who the user is, so there is no memory of them.")
        return scope


def _memories_for(items: Items, query: str, limit: int) -> Talk[list[Item]]:
    """What is remembered that answers a query, the best first; without one, what was remembered
    last."""
    asked = query[:_LONGEST_QUERY].strip() or None
    hits: list[ItemHit] = yield from call(items.search, asked, limit=limit)
    return [hit.item for hit in hits]


def _ids_in(runtime: Any) -> set[str | None]:
    """The ids of the messages that the model is shown anyway, the question among them."""
    state = getattr(runtime, "state", None)
    messages: Iterable[Any] = state.get("messages", ()) if isinstance(state, dict) else ()
    return {message.id for message in messages}


def _is_ours(hit: Hit) -> bool:
    """Whether a hit is only what a tool has found before."""
    return hit.message.role == "tool" and hit.message.name in _OURS


def _line_of(item: Item) -> str:
    return f"- [{item.key}] {item.updated_at:%Y-%m-%d}: {_short(str(item.value))}"


def _quoted(hit: Hit) -> str:
    message = hit.message
    at = "" if message.created_at is None else f" {message.created_at:%Y-%m-%d}"
    place = f"{hit.info.key} #{message.seq}"
    return f"- [{place}]{at}, {message.name or message.role}: {_short(text_of(message.content))}"


def _short(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"
