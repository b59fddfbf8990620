"""Conversations over HTTP: one Store for the life of each worker process.

    ONRECORD_URL=sqlite:///chats.db uvicorn --app-dir examples --workers 4 fastapi_app:app

The workers share nothing but the database, which may as well be PostgreSQL:
ONRECORD_URL=postgresql://user:password@host/database. See docs/how-to/fastapi.md.
"""

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Annotated

from fastapi import Depends, FastAPI, Query, Request
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field

from onrecord import (
    Conflict,
    IdReused,
    InvalidMessage,
    InvalidName,
    Message,
    OnrecordError,
    Session,
    Store,
    Unavailable,
)

log = logging.getLogger("uvicorn.error")


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    """One store for this process, from ONRECORD_URL, closed when the process ends."""
    async with Store.from_env() as store:
        await store.amigrate()  # a wrong URL stops the server here, not the first customer
        app.state.store = store
        yield


app = FastAPI(title="Conversations", lifespan=lifespan)


class Said(BaseModel):
    """A message on its way in. With an ``id``, sending it again is safe."""

    role: str
    text: str
    id: str | None = None
    expected: int | None = Field(None, description="refuse with 409 unless this is the head")


class Stored(BaseModel):
    """A message as it is stored."""

    seq: int
    id: str
    role: str
    text: str
    created_at: datetime


class Conversation(BaseModel):
    """What is known about a conversation without reading it."""

    key: str
    title: str | None
    messages: int
    last_active: datetime | None


def get_store(request: Request) -> Store:
    store: Store = request.app.state.store
    return store


def get_chat(user: str, key: str, store: Annotated[Store, Depends(get_store)]) -> Session:
    """A handle, which costs nothing. In your app, `user` comes from who is signed in."""
    return store.session(key, user=user)


Chat = Annotated[Session, Depends(get_chat)]
Limit = Annotated[int, Query(ge=1, le=200)]


@app.post("/users/{user}/chats/{key:path}/messages", status_code=201)
async def post_message(chat: Chat, said: Said) -> Stored:
    """Answers once the message is durable."""
    message = Message(said.role, said.text, id=said.id)
    [stored] = await chat.aappend(message, expected=said.expected)
    return shown(stored)


@app.get("/users/{user}/chats/{key:path}/messages")
async def read_tail(chat: Chat, limit: Limit = 20) -> list[Stored]:
    """The newest messages, oldest first."""
    return [shown(message) for message in await chat.atail(limit)]


@app.get("/users/{user}/chats")
async def list_chats(
    user: str, store: Annotated[Store, Depends(get_store)], limit: Limit = 50
) -> list[Conversation]:
    """A user's conversations, the one last active first."""
    return [
        Conversation(
            key=info.key, title=info.title, messages=info.messages, last_active=info.last_active
        )
        for info in await store.asessions(user=user, limit=limit)
    ]


def shown(message: Message) -> Stored:
    # What comes from the store has all of these.
    assert message.seq is not None
    assert message.id is not None
    assert message.created_at is not None
    return Stored(
        seq=message.seq,
        id=message.id,
        role=message.role,
        text=message.text,
        created_at=message.created_at,
    )


@app.exception_handler(OnrecordError)
async def explain(_: Request, fault: Exception) -> JSONResponse:
    """What the client did is told in the error's own words; what happened here is logged."""
    detail = str(fault)
    match fault:
        case Conflict() | IdReused():
            status = 409
        case InvalidMessage() | InvalidName():
            status = 422
        case Unavailable():
            status, detail = 503, "Send it again, with the same id."
        case _:
            status, detail = 500, "Something is wrong with the server."
    if status >= 500:
        log.error("%s: %s", type(fault).__name__, fault)
    return JSONResponse({"error": type(fault).__name__, "detail": detail}, status)
