"""A support conversation over three days, which survives a kill -9. Run it with `make demo`.

Each day is a process of its own: they share nothing but one SQLite file. On day two the process
is killed while it is writing an answer. On day three another process opens the file, and greets
the customer knowing everything that was acknowledged.

    python examples/three_days.py                         play the three days
    python examples/three_days.py FILE "Where is it?"     a fourth day: you are the customer

No model is asked. What the desk says on day three follows from what is stored, by the few simple
rules in `greeting` and `answer`.
"""

import io
import json
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn
from urllib.parse import quote

from onrecord import Message, OnrecordError, Session, Store, Text, ToolCall

KEY, CUSTOMER = "ticket-4711", "ada"


def open_conversation(store: Store) -> Session:
    """A handle on the one conversation this is about. Costs nothing: no I/O is done here."""
    return store.session(KEY, user=CUSTOMER)


# -- the three days: each runs in a process of its own ----------------------------------------


def day_one(chat: Session) -> None:
    chat.update(title="Where is order A-1017?", metadata={"ticket": "4711", "name": "Ada"})
    say(chat, Message("system", "You are the help desk of a bookshop. Be brief and kind."))
    say(chat, Message("user", "Hello! My order A-1017 has not arrived. It is two books."))
    call = ToolCall("find_order", {"number": "A-1017"}, id="call-1")
    say(chat, Message("assistant", (Text("Let me look."), call)))
    found = {"order": "A-1017", "status": "held at customs", "since": "Sunday"}
    say(chat, Message("tool", json.dumps(found), tool_call_id="call-1"))
    say(chat, Message("assistant", "It has been held at customs since Sunday. Give it a day?"))


def day_two(chat: Session) -> None:
    # Two messages in one append become visible together, or not at all.
    call = ToolCall("count_in_stock", {"order": "A-1017"}, id="call-2")
    say(
        chat,
        Message("user", "Still nothing. Can you send the books again?"),
        Message("assistant", (call,)),
    )
    say(chat, Message("tool", '{"in_stock": 3}', tool_call_id="call-2"))
    say(chat, Message("assistant", "We have three. Should they go to the same address?"))
    say(chat, Message("user", "No, please send them to my office: 12 Harbour Street."))
    sentence = "Of course. They leave today for"
    tell(typing=sentence)
    sentence += sys.stdin.read()  # the rest comes slowly, and the kill (in `play`) comes first
    say(chat, Message("assistant", sentence))


def day_three(chat: Session) -> None:
    tell(found=[[message.seq, message.id] for message in chat.messages()])
    say(chat, Message("assistant", greeting(chat)))


def day_of_your_own(chat: Session, text: str) -> None:
    if "ticket" not in chat.info().metadata:
        wrong("The conversation of the three days is not in that file.")
    chat.append(("user", text))
    [reply] = chat.append(("assistant", answer(chat)))
    print_line("Ada", text)
    print_line("desk", reply.text)


def say(chat: Session, *messages: Message) -> None:
    """Append, and only then tell: what was told is acknowledged, so it is on the disk."""
    for stored in chat.append(list(messages)):
        calls = [[call.name, call.args] for call in stored.tool_calls]
        about = {"seq": stored.seq, "id": stored.id, "role": stored.role}
        tell(said={**about, "text": stored.text, "calls": calls})


def tell(**event: Any) -> None:
    """One line to the process that plays the days."""
    print(json.dumps(event), flush=True)


# -- what the desk knows is what is stored ----------------------------------------------------


def greeting(chat: Session) -> str:
    """Who it is, what it is about, and what is still open."""
    about = chat.info()
    name, ticket = about.metadata["name"], about.metadata["ticket"]
    words = f"Good morning, {name}. Ticket {ticket}, “{about.title}”:"
    last = chat.tail(1)[0]
    if last.role != "user":
        return f"{words} the last thing I told you was “{last.text}”"
    return f"{words} you wrote “{last.text}”, and I still owe you an answer. {answer(chat)}"


def answer(chat: Session) -> str:
    """What follows from the conversation, by rules that a reader can check."""
    question = chat.tail(1)[0].text.lower()
    facts = facts_of(chat)
    if "address" in facts and ("send" in question or "address" in question):
        in_stock = f" ({facts['in_stock']} in stock)" if "in_stock" in facts else ""
        return f"Your books{in_stock} go to {facts['address']}."
    if "where" in question and "status" in facts:
        return f"Order {facts['order']} is {facts['status']} since {facts['since']}."
    return f"I have put that on ticket {chat.info().metadata['ticket']}."


def facts_of(chat: Session) -> dict[str, Any]:
    """What tools found out, and the last address the customer gave; later ones win."""
    facts: dict[str, Any] = {}
    for message in chat.messages():
        if message.role == "tool":
            facts.update(json.loads(message.text))
        elif message.role == "user" and ": " in message.text:
            facts["address"] = message.text.rpartition(": ")[2].rstrip(".")
    return facts


# -- the play: starts each day, shows what it tells, and kills the second one ------------------


def play() -> None:
    file = Path(tempfile.mkdtemp(prefix="onrecord-")) / "three_days.db"

    heading("Day one")
    acknowledged = list(show(run_day(1, file)))

    heading("Day two", "another process, the same file")
    day = run_day(2, file)
    acknowledged += show(day)
    day.kill()  # kill -9: it has no chance to do anything about it
    day.communicate()
    print_line(KILL, "kill -9, in mid-sentence: this answer was never appended.")

    heading("Day three", "a third process opens the file")
    found: list[list[Any]] = []
    list(show(run_day(3, file), found))

    print()
    print(f"Acknowledged before the kill: {len(acknowledged)}; found afterwards: {len(found)}.")
    if found != acknowledged:
        sys.exit(f"These are not the same: {acknowledged} and {found}")
    print("They are the same messages in the same order.")
    print(f"They are in {file}")
    print("\nThree things to try next:")
    for number, (what, command) in enumerate(things_to_try(file), 1):
        print(f"\n{number}. {what}:\n\n   {shlex.join(command)}")


def run_day(number: int, file: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, __file__, "--day", str(number), file],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        encoding="utf-8",
    )


def show(day: subprocess.Popen[str], found: list[Any] | None = None) -> Iterator[list[Any]]:
    """Print what a day tells, and yield the place and id of each message it has acknowledged.

    Ends with the day, or where the day is in the middle of writing something.
    """
    assert day.stdout is not None
    for line in day.stdout:
        match json.loads(line):
            case {"said": said}:
                print_message(said)
                yield [said["seq"], said["id"]]
            case {"found": list(known)} if found is not None:
                found += known
            case {"typing": text}:
                print_line("desk", f"{text} …", dim=True)
                return
    day.communicate()
    if day.returncode != 0:
        sys.exit(f"This day went wrong (exit {day.returncode}).")


def things_to_try(file: Path) -> list[tuple[str, list[str]]]:
    python = sys.executable
    if Path(python).is_relative_to(Path.cwd()):
        python = str(Path(python).relative_to(Path.cwd()))
    script = os.path.relpath(__file__)
    chat = f'Store("sqlite:///{quote(file.as_posix(), "/:")}").session("{KEY}", user="{CUSTOMER}")'
    tail = f'from onrecord import Store; print(*{chat}.tail(3), sep="\\n")'
    window = f'from onrecord import Store; print(*{chat}.window(turns=1), sep="\\n")'
    return [
        ("Be the customer on a fourth day", [python, script, str(file), "Where is it?"]),
        ("Read the newest three messages as they are stored", [python, "-c", tail]),
        ("See what a model would be shown of the last turn", [python, "-c", window]),
    ]


# -- printing ----------------------------------------------------------------------------------

WIDTH = min(shutil.get_terminal_size().columns, 88)
COLOURS = sys.stdout.isatty() and "NO_COLOR" not in os.environ
SPEAKERS = {"user": "Ada", "assistant": "desk"}
KILL = "✗"
COLOUR_OF = {"Ada": "36", "desk": "32", KILL: "1;31"}


def heading(day: str, how: str = "") -> None:
    print(f"\n{coloured(day, '1')}{f' · {how}' if how else ''}\n")


def print_message(said: dict[str, Any]) -> None:
    speaker = SPEAKERS.get(said["role"], "")
    match said["role"]:
        case "system":
            print_line("", f"({said['text']})", dim=True)
        case "tool":
            print_line("", f"← {said['text']}", dim=True)
        case _:
            if said["text"]:
                print_line(speaker, said["text"])
            for name, args in said["calls"]:
                given = ", ".join(f"{key}={value!r}" for key, value in args.items())
                print_line("" if said["text"] else speaker, f"→ {name}({given})", dim=True)


def print_line(speaker: str, text: str, dim: bool = False) -> None:
    """A speaker in a column of its own, and the text beside it, wrapped."""
    for number, line in enumerate(textwrap.wrap(text, max(WIDTH - 8, 20))):
        name = speaker if number == 0 else ""
        column = coloured(f"  {name:<6}", COLOUR_OF.get(speaker, "0"))
        print(column + (coloured(line, "2") if dim else line))


def coloured(text: str, code: str) -> str:
    return f"\x1b[{code}m{text}\x1b[0m" if COLOURS and text.strip() else text


def main(arguments: list[str]) -> None:
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # a terminal that knows no “” still shows the rest
    match arguments:
        case []:
            play()
        case ["--day", number, file]:
            with Store(Path(file)) as store:
                days = {"1": day_one, "2": day_two, "3": day_three}
                days[number](open_conversation(store))
        case [file, *_] if not Path(file).is_file():
            wrong(f"There is no file {file}.")
        case [_]:
            wrong("There is no text. Say something to the desk, in quotation marks.")
        case [_, text] if not text.strip():
            wrong("The text is empty. Say something to the desk.")
        case [file, text]:
            try:
                with Store(Path(file)) as store:
                    day_of_your_own(open_conversation(store), text)
            except OnrecordError as fault:
                wrong(str(fault))
        case _:
            wrong("These are too many arguments. Put the text in quotation marks.")


def wrong(what: str) -> NoReturn:
    sys.exit(f"{__doc__}\n{what}")


if __name__ == "__main__":
    main(sys.argv[1:])
