"""Onrecord for LlamaIndex: a chat store, a store for ``Memory``, a memory of its own, and a
memory block and a retriever that find again what was said.

    from llama_index_onrecord import OnrecordChatStore
    memory = ChatMemoryBuffer.from_defaults(chat_store=OnrecordChatStore(store=store))

    from llama_index_onrecord import OnrecordMemoryStore
    memory = Memory.from_defaults(session_id="ada", chat_store=OnrecordMemoryStore(store=store))

Importing this registers the chat store with LlamaIndex, so that a restored ``Context`` finds it.
"""

from __future__ import annotations

try:
    from llama_index.core.storage.chat_store.loading import RECOGNIZED_CHAT_STORES
except ModuleNotFoundError as fault:
    raise ImportError(
        f'{fault}. llama_index_onrecord needs it: pip install "onrecord[llama-index]"'
    ) from fault

from llama_index_onrecord.chat_store import OnrecordChatStore
from llama_index_onrecord.embedding import embedder
from llama_index_onrecord.memory import OnrecordMemory
from llama_index_onrecord.memory_block import OnrecordMemoryBlock
from llama_index_onrecord.memory_store import OnrecordMemoryStore
from llama_index_onrecord.messages import from_llama_index, to_llama_index
from llama_index_onrecord.retriever import OnrecordRetriever
from onrecord.adapters.recalling import Recall
from onrecord.adapters.turns import TurnSettings

RECOGNIZED_CHAT_STORES[OnrecordChatStore.class_name()] = OnrecordChatStore  # type: ignore[assignment]

__all__ = [
    "OnrecordChatStore",
    "OnrecordMemory",
    "OnrecordMemoryBlock",
    "OnrecordMemoryStore",
    "OnrecordRetriever",
    "Recall",
    "TurnSettings",
    "embedder",
    "from_llama_index",
    "to_llama_index",
]
