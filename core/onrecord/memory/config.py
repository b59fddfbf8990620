"""One factory: a memory as a configuration names it, of a mapping or a file.

memory = memory_from({"kind": "CONVERSATION_BUFFER", "max_messages": 100, "user_id": "ada"})
await memory.store({"message": "Hello", "role": "user"})
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Callable, Mapping
from os import PathLike, fspath
from pathlib import Path
from typing import Any, Final, TypeAlias

from onrecord.adapters.reference import check_store
from onrecord.arguments import (
    check_choice,
    check_number,
    check_range,
    check_settings,
    time_to_live,
)
from onrecord.errors import Misconfigured, shown
from onrecord.memory.buffer import PersistentBufferMemory
from onrecord.memory.episodic import EpisodicMemory
from onrecord.memory.semantic import SemanticMemory
from onrecord.memory.workflow import (
    MOST,
    OPERATIONS,
    WorkflowConversation,
    WorkflowEpisodes,
    WorkflowKnowledge,
    WorkflowMemory,
    WorkflowValues,
)
from onrecord.memory.working import WorkingMemory
from onrecord.scope import check_name
from onrecord.store import Store

Config: TypeAlias = Mapping[str, Any] | str | PathLike[str]

_AGENT: Final = "workflow"
"""Whose memory it is where a configuration names no agent."""


def memory_from(config: Config, *, store: Store | None = None) -> WorkflowMemory[Any]:
    """Make the memory that a configuration names. Does no I/O but to read the file.

    ``config`` is a mapping, or the path of a JSON or TOML file; also a workflow's node,
    ``{"type": "MEMORY", "subtype": …, "configurations": {…}}``. A setting that there is none of is
    refused. With ``use_persistent_storage=False`` the same memory is in this process, and ends
    with it: for tests. Else it is in ``store``, which stays open, or in the database that the
    settings or the environment name.
    """
    if store is not None:
        check_store(store)
    settings = _settings_in(config)
    kind = _kind_of(settings)
    backing, owned = _store_for(settings, store)
    return _MAKERS[kind](settings, backing, owned)


# -- what is configured ----------------------------------------------------------------------------


def _settings_in(config: object) -> dict[str, Any]:
    """The settings, flat, under their own names."""
    found = _read(config)
    if "configurations" in found or "subtype" in found or "type" in found:
        node, found = found, found.get("configurations", {})
        check_settings("A node", map(str, node), _NODE)
        if not isinstance(found, Mapping):
            raise Misconfigured(f"configurations has to be a mapping, not {shown(found)}.")
        if str(node.get("type", "MEMORY")).upper() != "MEMORY":
            raise Misconfigured(
                f"A node of type {shown(node['type'])} is no memory: its type is MEMORY, and which "
                f"memory it is stands in subtype, or without a node in kind. {_known_kinds()}"
            )
        found = {**({"kind": node["subtype"]} if "subtype" in node else {}), **found}
    check_settings("A memory", map(str, found), _CHECKS)
    for name, value in found.items():
        _CHECKS[name](name, value)
    named = {_OTHER_NAMES.get(key, key): value for key, value in found.items()}
    if len(named) < len(found):
        twice = next(key for key in found if _OTHER_NAMES.get(key, key) in found.keys() - {key})
        raise Misconfigured(f"{twice} and {_OTHER_NAMES[twice]} are one setting: give one of them.")
    return named


def _read(config: object) -> Mapping[str, Any]:
    if isinstance(config, Mapping):
        return config
    if not isinstance(config, str | PathLike):
        raise Misconfigured(
            f"memory_from() takes a mapping, or the path of a .json or .toml file, not "
            f"{shown(config)}."
        )
    if isinstance(config, str) and "://" in config:  # never shown: it may have a password
        raise Misconfigured(
            "memory_from() takes a mapping, or the path of a .json or .toml file, and this is an "
            "address. That of a database is a setting: memory_from({'kind': …, 'url': …}); or pass "
            "store=."
        )
    path = Path(fspath(config))
    read = _READERS.get(path.suffix.lower())
    if read is None:
        raise Misconfigured(
            f"{path.name!r:.200} is no .json or .toml file. Read it yourself, and pass what is in "
            f"it: memory_from(yaml.safe_load(text))."
        )
    try:
        found = read(path.read_text("utf-8"))
    except OSError as fault:
        raise Misconfigured(f"{path.name!r:.200} cannot be read: {fault.strerror}.") from fault
    except ValueError as fault:  # no JSON, no TOML, no UTF-8
        raise Misconfigured(f"{path.name!r:.200} is not what it is called: {fault}") from fault
    if not isinstance(found, Mapping):
        raise Misconfigured(f"{path.name!r:.200} holds {shown(found)}, and has to hold a mapping.")
    return found


def _kind_of(settings: Mapping[str, Any]) -> str:
    if "kind" not in settings:
        raise Misconfigured(f"The configuration names no kind of memory. {_known_kinds()}")
    kind = settings["kind"]
    name = kind.upper().replace("-", "_").replace(" ", "_") if isinstance(kind, str) else ""
    name = _OTHER_KINDS.get(name, name)
    if name not in _MAKERS:
        raise Misconfigured(f"There is no kind of memory {shown(kind)}. {_known_kinds()}")
    return name


def _known_kinds() -> str:
    return f"kind= is {', '.join(_MAKERS)}; or as others call it, {', '.join(_OTHER_KINDS)}."


def _store_for(settings: Mapping[str, Any], given: Store | None) -> tuple[Store, bool]:
    embedder = {"embedder": settings["embedder"]} if "embedder" in settings else {}
    if not settings.get("use_persistent_storage", True):
        return Store("sqlite://", **embedder), True
    place = {key: settings[key] for key in ("url", "cache") if key in settings}
    if given is None:
        return Store.from_env(**place, **embedder), True
    if over := sorted(place | embedder):
        raise Misconfigured(f"A store is given, and {over[0]} is configured: leave one out.")
    return given, False


# -- the kinds -------------------------------------------------------------------------------------

_Maker: TypeAlias = Callable[[dict[str, Any], Store, bool], WorkflowMemory[Any]]


def _conversation(settings: dict[str, Any], store: Store, owned: bool) -> WorkflowMemory[Any]:
    most = settings.get("max_messages", 100)
    memory = PersistentBufferMemory(
        store,
        agent_id=settings.get("agent_id", _AGENT),
        session=settings.get("session_id", "main"),
        user=settings.get("user_id", ""),
        tenant=settings.get("tenant", ""),
        buffer_size=most,
        auto_persist_interval=1,  # what was stored is durable, as a workflow's node expects
        enable_compression=store.compression == "zstd",
    )
    return WorkflowConversation(
        memory,
        store,
        owned=owned,
        operation=settings.get("operation"),
        max_messages=most,
        max_tokens=settings.get("max_tokens"),
    )


def _knowledge(settings: dict[str, Any], store: Store, owned: bool) -> WorkflowMemory[Any]:
    memory = SemanticMemory(
        store,
        namespace=settings.get("namespace", "facts"),
        similarity_threshold=settings.get("similarity_threshold"),
        **_scope(settings),
    )
    return WorkflowKnowledge(memory, store, owned=owned, operation=settings.get("operation"))


def _values(settings: dict[str, Any], store: Store, owned: bool) -> WorkflowMemory[Any]:
    memory = WorkingMemory(
        store,
        session_id=settings.get("session_id"),
        ttl=settings.get("default_ttl", 3600),
        **_scope(settings),
    )
    return WorkflowValues(memory, store, owned=owned, operation=settings.get("operation"))


def _episodes(settings: dict[str, Any], store: Store, owned: bool) -> WorkflowMemory[Any]:
    memory = EpisodicMemory(
        store,
        agent_id=settings.get("agent_id", _AGENT),
        user=settings.get("user_id", ""),
        tenant=settings.get("tenant", ""),
    )
    return WorkflowEpisodes(
        memory,
        store,
        owned=owned,
        operation=settings.get("operation"),
        session_id=settings.get("session_id", "main"),
    )


def _scope(settings: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "tenant": settings.get("tenant", ""),
        "user": settings.get("user_id", ""),
        "agent": settings.get("agent_id", _AGENT),
    }


_MAKERS: Final[dict[str, _Maker]] = {
    WorkflowConversation.kind: _conversation,
    WorkflowKnowledge.kind: _knowledge,
    WorkflowValues.kind: _values,
    WorkflowEpisodes.kind: _episodes,
}
_OTHER_KINDS: Final = {
    "CONVERSATION": WorkflowConversation.kind,
    "VECTOR_STORE": WorkflowKnowledge.kind,
    "SEMANTIC": WorkflowKnowledge.kind,
    "SEMANTIC_MEMORY": WorkflowKnowledge.kind,
    "WORKING": WorkflowValues.kind,
    "KEY_VALUE_STORE": WorkflowValues.kind,
    "EPISODIC": WorkflowEpisodes.kind,
}

# -- the settings ----------------------------------------------------------------------------------


def _is_text(name: str, given: object) -> None:
    if not isinstance(given, str):
        raise Misconfigured(f"{name} has to be text, not {shown(given)}.")


def _is_flag(name: str, given: object) -> None:
    if not isinstance(given, bool):
        raise Misconfigured(f"{name} has to be true or false, not {shown(given)}.")


def _is_part(name: str, given: object) -> None:
    """The empty name is that of nobody in particular."""
    if given != "":
        check_name(name, given)


def _is_limit(name: str, given: object) -> None:
    """None is no limit."""
    if given is not None:
        check_number(name, given, 1, 10**9)


def _is_life(name: str, given: object) -> None:
    """None is for good."""
    time_to_live(name, given)


def _anything(name: str, given: object) -> None:
    """Whoever takes it looks at it."""


_CHECKS: Final[dict[str, Callable[[str, Any], None]]] = {
    "kind": _anything,
    "use_persistent_storage": _is_flag,
    "use_advanced": _is_flag,
    "operation": lambda name, given: check_choice(name, given, OPERATIONS),
    "max_messages": lambda name, given: check_number(name, given, 1, MOST),
    "max_tokens": _is_limit,
    "similarity_threshold": lambda name, given: check_range(name, given, "a score", 0, 1),
    "default_ttl": _is_life,
    "namespace": check_name,
    "url": _is_text,
    "cache": _is_text,
    "embedder": _anything,
    "tenant": _is_part,
    "workflow_id": _is_part,
    "user_id": _is_part,
    "user": _is_part,
    "agent_id": check_name,
    "memory_node_id": check_name,
    "session_id": check_name,
}
_OTHER_NAMES: Final = {"workflow_id": "tenant", "user": "user_id", "memory_node_id": "agent_id"}
_NODE: Final = ("type", "subtype", "configurations", "id", "name", "description")
_READERS: Final[dict[str, Callable[[str], Any]]] = {".json": json.loads, ".toml": tomllib.loads}
