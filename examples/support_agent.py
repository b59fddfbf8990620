"""A support desk that remembers: a LangChain agent over three days, and LlamaIndex on the fourth.

Each day is a process of its own; they share nothing but one database. On day two the process is
killed while a tool is at work. On day three the desk greets with what was left open, answers in
the customer's own manner, and finds the order of day one again, though the window is small.

    python examples/support_agent.py                     play the four days
    python examples/support_agent.py --model openai:gpt-4o-mini
    python examples/support_agent.py --url postgresql://user:password@host/database

It needs `pip install "onrecord[agents,llama-index]"`. Without --model no model is asked: what the
desk says follows from what it is shown, by the rules in `Desk`, so that what it knows is what the
memory gave it.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import textwrap
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple

from onrecord import Message, Store
from onrecord.memory import Analytics, Preferences, Rules, by_words

CUSTOMER: Final = "ada"
AGENT: Final = "desk"
TICKET: Final = "ticket-4711"
WINDOW: Final = {"turns": 2}
"""What the model is shown of the conversation: so little that day one has to be recalled."""
ORDER: Final = re.compile(r"\b[A-Z]-\d{4}\b")
HELD: Final = re.compile(r"held at \w+ since \w+")
RULES: Final = Rules(
    "bookshop", topics=by_words({"orders": ["order", "books"], "prices": ["costs", "price"]})
)
"""What a customer's words say of the customer."""


# -- what the desk can do ------------------------------------------------------------------------


def find_order(number: str) -> str:
    """Find an order by its number."""
    return json.dumps({"order": number, "status": "held at customs since Sunday"})


def send_again(number: str) -> str:
    """Send the books of an order once more."""
    if os.environ.get("SUPPORT_AGENT_HANGS"):
        tell(working="at work")
        sys.stdin.read()  # the shop's computer takes its time, and the kill comes first
    return json.dumps({"order": number, "sent": "tomorrow, with the first post"})


TOOLS: Final = (find_order, send_again)


class Desk:
    """What the desk says, by rules: a call of a tool, or an answer and how sure it is of it."""

    def __init__(self, system: str) -> None:
        self.formal = "formal" in system

    def says(self, shown: Sequence[tuple[str, str]]) -> tuple[str, dict[str, Any]]:
        """``(text, metadata)``; or ``("", {"name": …, "args": …})`` to call a tool."""
        role, last = shown[-1]
        if role == "tool":
            return self._result(json.loads(last))
        asked = last.lower()
        if asked in ("yes, please.", "yes."):  # it goes on with what was asked before
            asked = next(text.lower() for who, text in shown[-2::-1] if who == "user")
        orders = [number for _, text in shown for number in ORDER.findall(text)]
        if "held" in asked:
            held = [found for _, text in shown for found in HELD.findall(text)]
            known = f"It was {held[0]}." if held else "I do not know of that."
            return self._in_manner(known), {"confidence": 0.9, "resolved": bool(held)}
        if "send" in asked and orders:
            return "", {"name": "send_again", "args": {"number": orders[-1]}}
        if ORDER.search(last):
            return "", {"name": "find_order", "args": {"number": orders[-1]}}
        return self._in_manner("I have put that on your ticket."), {"confidence": 0.6}

    def _result(self, found: dict[str, str]) -> tuple[str, dict[str, Any]]:
        if sent := found.get("sent"):
            text = f"The books of order {found['order']} go to you {sent}."
            return self._in_manner(text), {"confidence": 0.95, "resolved": True}
        text = f"Order {found['order']} is {found['status']}. Will you give it a day?"
        return self._in_manner(text), {"confidence": 0.8, "resolved": False}

    def _in_manner(self, text: str) -> str:
        return f"Certainly. {text} With kind regards, your help desk." if self.formal else text


def instructions(store: Store) -> str:
    """The system prompt: who the desk is, and how the customer likes to be answered."""
    learned = Preferences(store, CUSTOMER, rules=RULES).read()
    return f"You are the help desk of a bookshop. Be brief. {learned.prompt}".strip()


# -- the days of LangChain: an agent with tools ---------------------------------------------------


def answered(store: Store, model: str, said: str) -> None:
    """What the customer says, and what the agent makes of it."""
    from langchain.agents import create_agent
    from langchain_core.messages import HumanMessage

    from langchain_onrecord import OnrecordMiddleware

    system = instructions(store)
    agent = create_agent(
        langchain_model(model, system),
        list(TOOLS),
        system_prompt=system,
        middleware=[
            OnrecordMiddleware(store, user=CUSTOMER, agent=AGENT, window=WINDOW, recall=True)
        ],
    )
    tell(role="user", text=said)
    config: Any = {"configurable": {"session_id": TICKET}}
    for step in agent.stream({"messages": [HumanMessage(said)]}, config, stream_mode="updates"):
        for node, update in step.items():
            for message in update["messages"] if node in ("model", "tools") else []:
                for call in getattr(message, "tool_calls", []):
                    tell(role="call", text=shown_call(call["name"], call["args"]))
                if message.text:
                    tell(role=message.type, text=message.text)


def shown_call(name: str, args: Mapping[str, Any]) -> str:
    return f"{name}({', '.join(repr(value) for value in args.values())})"


def langchain_model(model: str, system: str) -> Any:
    """A chat model of LangChain by its name, or the desk of rules."""
    if model:
        from langchain.chat_models import init_chat_model

        return init_chat_model(model)
    from langchain_core.language_models.chat_models import BaseChatModel
    from langchain_core.messages import AIMessage
    from langchain_core.outputs import ChatGeneration, ChatResult

    class Rules(BaseChatModel):
        @property
        def _llm_type(self) -> str:
            return "rules"

        def bind_tools(self, tools: Any, **settings: Any) -> Any:
            return self

        def _generate(self, messages: Any, *given: Any, **settings: Any) -> ChatResult:
            roles = {"human": "user", "ai": "assistant"}
            shown = [(roles.get(m.type, m.type), m.text) for m in messages]
            text, said = Desk(system).says(shown)
            if text:
                answer = AIMessage(text, additional_kwargs={"metadata": said})
            else:
                answer = AIMessage("", tool_calls=[{**said, "id": f"call-{len(messages)}"}])
            return ChatResult(generations=[ChatGeneration(message=answer)])

    return Rules()


# -- the day of LlamaIndex: a chat engine goes on with the same conversation -----------------------


def chatted(store: Store, said: str) -> None:
    """What the customer says, and what a chat engine of LlamaIndex answers."""
    from llama_index.core.chat_engine import SimpleChatEngine
    from llama_index.core.llms import CompletionResponse, CustomLLM, LLMMetadata
    from llama_index.core.llms.callbacks import llm_chat_callback, llm_completion_callback

    from llama_index_onrecord import OnrecordMemory

    system = instructions(store)

    class Rules(CustomLLM):
        @property
        def metadata(self) -> LLMMetadata:
            return LLMMetadata(model_name="rules")

        @llm_chat_callback()
        def chat(self, messages: Any, **settings: Any) -> Any:
            from llama_index.core.llms import ChatMessage, ChatResponse

            shown = [(m.role.value, m.content or "") for m in messages]
            text, _ = Desk(system).says(shown)
            return ChatResponse(message=ChatMessage(role="assistant", content=text))

        @llm_completion_callback()
        def complete(self, prompt: str, **settings: Any) -> CompletionResponse:
            return CompletionResponse(text=Desk(system).says([("user", prompt)])[0])

        @llm_completion_callback()
        def stream_complete(self, prompt: str, **settings: Any) -> Any:
            yield self.complete(prompt)

    memory = OnrecordMemory(store, session_id=TICKET, user=CUSTOMER, agent=AGENT, recall=True)
    engine = SimpleChatEngine.from_defaults(llm=Rules(), memory=memory, system_prompt=system)
    tell(role="user", text=said)
    tell(role="ai", text=str(engine.chat(said)))


# -- the days -------------------------------------------------------------------------------------


class Day(NamedTuple):
    """What happens on a day, in a process of its own."""

    heading: str
    happens: Callable[[Store, str], None]
    is_killed: bool = False


def others(store: Store) -> None:
    """What another customer asked last week: for the statistics of all."""
    store.session("ticket-4690", user="bob", agent=AGENT).append(
        [
            Message("user", "Hey, what does order B-2044 cost?"),
            Message("assistant", "12 euros.", metadata={"confidence": 0.98, "resolved": True}),
        ]
    )


def day_one(store: Store, model: str) -> None:
    others(store)
    answered(store, model, "Good morning. Could you kindly look for my order A-1017, please?")
    answered(store, model, "I would appreciate it. Could you tell me what it costs, please?")


def day_two(store: Store, model: str) -> None:
    answered(store, model, "It has still not arrived. Please send the books of A-1017 once more.")


def day_three(store: Store, model: str) -> None:
    greet(store)
    answered(store, model, "Yes, please.")
    answered(store, model, "Thank you. Where was my order held at first, please?")
    tell(statistics=statistics(store))


def day_four(store: Store, model: str) -> None:
    chatted(store, "The books are here, thank you kindly. Where was my order held at first?")


DAYS: Final = {
    1: Day("Day one · an agent of LangChain", day_one),
    2: Day("Day two · another process, the same database", day_two, is_killed=True),
    3: Day("Day three · a third process", day_three),
    4: Day("Day four · a chat engine of LlamaIndex, the same conversation", day_four),
}


def greet(store: Store) -> None:
    """Say what was left open, if anything was."""
    for left in store.unfinished(user=CUSTOMER, agent=AGENT):
        tell(role="ai", text=left.welcome)


def statistics(store: Store) -> str:
    """What is known of this conversation, of its customer, and of all."""
    learned = Preferences(store, CUSTOMER, rules=RULES).read()
    analytics = Analytics(store)
    session = next(one for one in analytics.by_session() if one.session.key == TICKET)
    topics = ", ".join(learned.topics) or "none"
    customer = f"CUSTOMER: style {learned.style}, length {learned.length}, topics {topics}"
    return f"{session}\n{analytics.summary()}\n{customer}"


# -- the play: starts each day, shows what it tells, and kills the one that is to die -------------


def play(days: Mapping[int, Day], script: str, url: str, model: str) -> None:
    for number, day in days.items():
        print(f"\n{bold(day.heading)}\n")
        process = start(script, number, day, url, model)
        spoken = False
        for told in lines_of(process):
            if "working" in told:
                process.kill()  # kill -9: it has no chance to do anything about it
                say("✗", "kill -9, while the tool was at work.")
            elif "statistics" in told:
                if spoken:
                    print()
                for line in told["statistics"].splitlines():
                    say("", line, dim=True)
            else:
                show(told["role"], told["text"])
                spoken = True
        process.communicate()
        if process.returncode and not day.is_killed:
            sys.exit(f"{day.heading} went wrong (exit {process.returncode}).")
    print(f"\nAll of it is in {Store(url).address}")  # without a password
    if not url.startswith("sqlite:"):
        return
    print("\nLook inside:\n")
    handle = f'Store("{url}").session("{TICKET}", user="{CUSTOMER}", agent="{AGENT}")'
    look = f'from onrecord import Store; print(*{handle}.tail(3), sep="\\n")'
    print(f"   {shlex.join([os.path.relpath(sys.executable), '-c', look])}")


def start(script: str, number: int, day: Day, url: str, model: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, script, "--day", str(number), "--url", url, "--model", model],
        env={**os.environ, "SUPPORT_AGENT_HANGS": "1" if day.is_killed else ""},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        encoding="utf-8",
    )


def tell(**event: Any) -> None:
    """One line to the process that plays the days."""
    print(json.dumps(event), flush=True)


def lines_of(day: subprocess.Popen[str]) -> Iterator[dict[str, Any]]:
    assert day.stdout is not None
    for line in day.stdout:
        yield json.loads(line)


WIDTH: Final = min(shutil.get_terminal_size().columns, 88)
COLOURS: Final = sys.stdout.isatty() and "NO_COLOR" not in os.environ


def show(role: str, text: str) -> None:
    match role:
        case "user":
            say("Ada", text)
        case "call":
            say("", f"→ {text}", dim=True)
        case "tool":
            say("", f"← {text}", dim=True)
        case _:
            say("desk", text)


def say(speaker: str, text: str, dim: bool = False) -> None:
    """A speaker in a column of its own, and the text beside it, wrapped."""
    for number, line in enumerate(textwrap.wrap(text, max(WIDTH - 8, 20)) or [""]):
        name = speaker if number == 0 else ""
        print(f"  {name:<6}" + (f"\x1b[2m{line}\x1b[0m" if dim and COLOURS else line))


def bold(text: str) -> str:
    return f"\x1b[1m{text}\x1b[0m" if COLOURS else text


def main(days: Mapping[int, Day], script: str, told: str | None) -> None:
    parser = argparse.ArgumentParser(
        description=told, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--url", default="", help="of a store; otherwise a file that is new")
    parser.add_argument("--model", default="", help="a chat model, as init_chat_model names it")
    parser.add_argument("--day", type=int, choices=days, help=argparse.SUPPRESS)
    given = parser.parse_args()
    url = given.url or f"sqlite:///{tempfile.mkdtemp(prefix='onrecord-')}/support.db"
    if given.day is None:
        play(days, script, url, given.model)
        return
    warnings.simplefilter("ignore")  # of the frameworks, about themselves
    with Store(url) as store:
        days[given.day].happens(store, given.model)


if __name__ == "__main__":
    main(DAYS, __file__, __doc__)
