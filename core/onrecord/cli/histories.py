"""The importers of foreign histories, by the names that ``import --from`` knows."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeAlias

from onrecord.errors import Misconfigured, shown

if TYPE_CHECKING:
    from onrecord.adapters.importing import Imported, ImportProgress
    from onrecord.store import Store

Tell: TypeAlias = "Callable[[ImportProgress], object]"
Bring: TypeAlias = "Callable[[Store, str, Tell], Imported]"


class Kind(NamedTuple):
    """An importer: where it is, and which options it takes."""

    module: str
    function: str
    extra: str
    options: tuple[str, ...] = ()
    needs: tuple[str, ...] = ()
    threads: bool = False
    """Whether it brings checkpoints of threads, and not messages."""


KINDS: Final[Mapping[str, Kind]] = {
    "langchain-sql": Kind(
        "langchain_onrecord.importers", "import_sql", "langchain", ("table", "schema")
    ),
    "langchain-postgres": Kind(
        *("langchain_onrecord.importers", "import_postgres", "langchain"),
        *(("table", "schema"), ("table",)),
    ),
    "langchain-redis": Kind(
        "langchain_onrecord.importers", "import_redis", "langchain", ("key_prefix",)
    ),
    "langgraph": Kind(
        "langgraph_onrecord", "import_threads", "langgraph", ("schema",), threads=True
    ),
    "llama-index-sql": Kind(
        "llama_index_onrecord.importers", "import_sql", "llama-index", ("table", "schema")
    ),
    "llama-index-postgres": Kind(
        "llama_index_onrecord.importers", "import_postgres", "llama-index", ("table", "schema")
    ),
    "llama-index-redis": Kind(
        "llama_index_onrecord.importers", "import_redis", "llama-index", ("pattern",)
    ),
    "llama-index-json": Kind("llama_index_onrecord.importers", "import_json", "llama-index"),
}

_ALWAYS: Final = ("tenant", "user", "agent", "only")


def importer(name: str, given: dict[str, Any]) -> Bring:
    """Find an importer, with the options that were given for it."""
    kind = KINDS.get(name)
    if kind is None:
        raise Misconfigured(
            f"--from {shown(name)} is not known. It reads {', '.join(KINDS)}. Leave it out for a "
            f"file that export wrote."
        )
    if wrong := [one for one in given if one not in (*_ALWAYS, *kind.options)]:
        raise Misconfigured(f"{_named(wrong)} says nothing to --from {name}.")
    if missing := [one for one in kind.needs if one not in given]:
        raise Misconfigured(f"--from {name} needs {_named(missing)}.")
    try:
        function = getattr(import_module(kind.module), kind.function)
    except ImportError as fault:
        raise Misconfigured(
            f'--from {name} needs its extra: pip install "onrecord[{kind.extra}]"'
        ) from fault
    if kind.threads:
        return _threads(kind, function, dict(given))
    only = given.pop("only", None)

    def bring(store: Store, source: str, tell: Tell) -> Imported:
        done: Imported = function(store, source, session_ids=only, progress=tell, **given)
        return done

    return bring


def _threads(kind: Kind, function: Any, given: dict[str, Any]) -> Bring:
    only, schema = given.pop("only", None), given.pop("schema", None)

    def bring(store: Store, source: str, tell: Tell) -> Imported:
        saver = import_module(kind.module).OnrecordSaver(store, **given)
        done: Imported = function(saver, source, threads=only, schema=schema)
        return done

    return bring


def _named(options: list[str]) -> str:
    return ", ".join(f"--{one.replace('_', '-')}" for one in options)
