"""Conversations over HTTP: one Store for the life of each worker process.

    ONRECORD_URL=sqlite:///chats.db uvicorn --app-dir examples --workers 4 fastapi_app:app

The workers share nothing but the database, which may as well be PostgreSQL:
ONRECORD_URL=postgresql://user:password@host/database. See docs/how-to/fastapi.md, and
docs/how-to/deploy.md for servers that others depend on.
"""

import asyncio
import json
import logging
import re
import time
import traceback
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Annotated, Any

from fastapi import Depends, FastAPI, Query, Request, Response
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

log = logging.getLogger("conversations")
request_id: ContextVar[str | None] = ContextVar("request_id", default=None)
READY_WITHIN = 2.0  # seconds in which database and cache have to answer a probe


class JsonLines(logging.Formatter):
    """One JSON object a line, with the request's id: never what somebody said."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
            "request_id": request_id.get(),
            **getattr(record, "fields", {}),
        }
        if record.exc_info and (fault := record.exc_info[1]):
            # Not its text: whose code raised it may quote a message in it.
            line["raised"] = type(fault).__name__
            line["traceback"] = traceback.format_tb(fault.__traceback__)
        return json.dumps(line)


def log_as_json() -> None:
    """Have everything logged as JSON, and each request by a line of ours instead of uvicorn's."""
    handler = logging.StreamHandler()
    handler.setFormatter(JsonLines())
    logging.basicConfig(handlers=[handler], level=logging.INFO, force=True)
    for name in ("uvicorn", "uvicorn.error", "uvicorn.access"):
        logging.getLogger(name).handlers.clear()
        logging.getLogger(name).propagate = name != "uvicorn.access"


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    """One store for this process, from ONRECORD_URL. It is closed when SIGTERM came and the
    requests under way have been answered."""
    log_as_json()
    async with Store.from_env() as store:
        try:
            await store.amigrate()  # a wrong URL stops the server here, not the first customer
        except OnrecordError as fault:
            log.critical("not started: %s", fault)
            raise
        app.state.store = store
        yield


app = FastAPI(title="Conversations", lifespan=lifespan)


@app.middleware("http")
async def tell(request: Request, answer: Callable[[Request], Awaitable[Response]]) -> Response:
    """Log a request when it is answered, under the id that it came with or is given here."""
    given = request.headers.get("x-request-id", "")
    name = given if re.fullmatch(r"[\w.-]{1,64}", given, re.ASCII) else uuid.uuid4().hex
    request_id.set(name)
    began = time.perf_counter()
    status = 500
    try:
        response = await answer(request)
        response.headers["x-request-id"] = name
        status = response.status_code
        return response
    finally:
        # The route and not the path, which has names of people in it.
        route = getattr(request.scope.get("route"), "path", None)
        if status >= 400 or route not in ("/health/live", "/health/ready"):
            took = round((time.perf_counter() - began) * 1000, 1)
            fields = {"method": request.method, "route": route, "status": status, "ms": took}
            log.info("answered", extra={"fields": fields})


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


TheStore = Annotated[Store, Depends(get_store)]
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
async def list_chats(user: str, store: TheStore, limit: Limit = 50) -> list[Conversation]:
    """A user's conversations, the one last active first."""
    return [
        Conversation(
            key=info.key, title=info.title, messages=info.messages, last_active=info.last_active
        )
        for info in await store.asessions(user=user, limit=limit)
    ]


@app.get("/health/live")
async def live() -> dict[str, str]:
    """This process answers. Nothing else is asked: to restart it would mend no database."""
    return {"status": "alive"}


@app.get("/health/ready")
async def ready(store: TheStore) -> JSONResponse:
    """Whether requests can be served, in bounded time. Without its cache a store is slower, and
    serves them. Addresses are for the log, not for whoever asks."""
    try:
        async with asyncio.timeout(READY_WITHIN):
            # Sooner, so that there is time to say what is wrong.
            health = await store.ahealth(within=READY_WITHIN * 0.75)
    except TimeoutError:
        log.error("not ready: database or cache did not answer within %s s", READY_WITHIN)
        return JSONResponse({"status": "unavailable", "reason": "no answer in time"}, 503)
    if not health.database.ok:
        log.error("not ready: %s", health.database.problem)
        return JSONResponse({"status": "unavailable", "reason": "the database is ill"}, 503)
    if health.cache and not health.cache.ok:
        log.warning("degraded: %s", health.cache.problem)
        return JSONResponse({"status": "degraded", "reason": "the cache is ill"})
    return JSONResponse({"status": "ready"})


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
        log.error("%s: %s", type(fault).__name__, fault, extra={"fields": {"status": status}})
    return JSONResponse({"error": type(fault).__name__, "detail": detail}, status)
