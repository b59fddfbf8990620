"""Recollect for LlamaIndex: a chat store, a store for ``Memory``, and a memory of its own.

    from llama_index_recollect import RecollectChatStore
    memory = ChatMemoryBuffer.from_defaults(chat_store=RecollectChatStore(store=store))

    from llama_index_recollect import RecollectMemoryStore
    memory = Memory.from_defaults(session_id="ada", chat_store=RecollectMemoryStore(store=store))

Importing this registers the chat store with LlamaIndex, so that a restored ``Context`` finds it.
"""

from __future__ import annotations

try:
    from llama_index.core.storage.chat_store.loading import RECOGNIZED_CHAT_STORES
except ModuleNotFoundError as fault:
    raise ImportError(
        f'{fault}. llama_index_recollect needs it: pip install "recollect[llama-index]"'
    ) from fault

from llama_index_recollect.chat_store import RecollectChatStore
from llama_index_recollect.memory import RecollectMemory
from llama_index_recollect.memory_store import RecollectMemoryStore
from llama_index_recollect.messages import from_llama_index, to_llama_index

RECOGNIZED_CHAT_STORES[RecollectChatStore.class_name()] = RecollectChatStore  # type: ignore[assignment]

__all__ = [
    "RecollectChatStore",
    "RecollectMemory",
    "RecollectMemoryStore",
    "from_llama_index",
    "to_llama_index",
]
