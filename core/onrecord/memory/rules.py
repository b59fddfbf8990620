"""Rules by which preferences are learned: what a text of a user says of the user.

A rule is a function of a text. It returns pairs: what the text says (``"formal"``), and by which
words (``"please"``). The default ones look for whole words, and count characters.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Final, TypeAlias

from onrecord.arguments import check_function, check_number, check_text, mapping
from onrecord.errors import Misconfigured, OnrecordError, shown

Rule: TypeAlias = Callable[[str], Iterable[tuple[str, str]]]
"""What a text says, and by which words: ``[("formal", "please"), ("formal", "please")]``."""

LONGEST: Final = 64
"""Characters of what a rule returns."""


def _plain(word: str) -> str:
    return " ".join(word.lower().split())


def by_words(words: Mapping[str, Iterable[str]]) -> Rule:
    """Make a rule that finds whole words, whatever their case: ``{"formal": ["please", …], …}``.
    Several words are found with any blanks between them."""
    of: dict[str, str] = {}
    for name, some in mapping("words", words).items():
        check_text("a name of words", name, LONGEST)
        if not isinstance(some, Iterable):
            raise Misconfigured(f"The words of {name!r} have to be a list, not {shown(some)}.")
        for word in [some] if isinstance(some, str) else some:
            if not isinstance(word, str) or not word.split():
                raise Misconfigured(f"A word of {name!r} has to be text, not {shown(word)}.")
            of[_plain(word)] = name
    if not of:
        raise Misconfigured("by_words needs at least one word: {'formal': ['please']}.")
    longest_first = sorted(of, key=len, reverse=True)
    choices = "|".join(r"\s+".join(map(re.escape, word.split())) for word in longest_first)
    pattern = re.compile(rf"(?<!\w)(?:{choices})(?!\w)", re.IGNORECASE)

    def rule(text: str) -> Iterable[tuple[str, str]]:
        for found in pattern.findall(text.replace("\u2019", "'")):
            word = _plain(found)
            if word in of:
                yield of[word], word

    return rule


def by_length(brief: int = 50, detailed: int = 150) -> Rule:
    """Make a rule that calls a text brief under so many characters, and detailed above so many."""
    check_number("brief", brief, 0, 10**9)
    check_number("detailed", detailed, brief, 10**9)

    def rule(text: str) -> Iterable[tuple[str, str]]:
        length = len(text.strip())
        if length < brief:
            return [("brief", f"under {brief} characters")]
        if length > detailed:
            return [("detailed", f"over {detailed} characters")]
        return [("medium", f"{brief} to {detailed} characters")]

    return rule


STYLE: Final = {
    "formal": ("please", "thank you", "appreciate", "appreciated", "kindly"),
    "casual": ("hey", "thanks", "cool", "awesome"),
}
TOPICS: Final = {
    "login": (
        "login", "log in", "logged in", "logging in", "sign in", "signed in", "signing in",
        "sign-in", "password", "passwords", "authentication",
    ),
    "billing": (
        "billing", "payment", "payments", "invoice", "invoices", "subscription", "subscriptions",
        "charge", "charges", "charged",
    ),
    "technical": (
        "technical", "error", "errors", "bug", "bugs", "crash", "crashes", "crashed", "crashing",
        "not working",
    ),
    "account": ("profile", "settings"),
}  # fmt: skip
"""Not "account" itself: who cannot log in to an account speaks of the login."""

_STYLE: Final = by_words(STYLE)
_LENGTH: Final = by_length()
_TOPICS: Final = by_words(TOPICS)


@dataclass(frozen=True, slots=True)
class Rules:
    """The rules that preferences are learned by. What was learned is kept under their name: give
    them another one when they say something else, and all is learned anew by them."""

    name: str = "default"
    style: Rule = _STYLE
    length: Rule = _LENGTH
    topics: Rule = _TOPICS

    def __post_init__(self) -> None:
        check_text("rules' name", self.name, 200)
        for what in ("style", "length", "topics"):
            check_function(what, getattr(self, what), "a function of a text", plain=True)

    def say(self, what: str, text: str) -> list[tuple[str, str]]:
        """Ask one of the rules, and refuse an answer that is none."""
        rule: Rule = getattr(self, what)
        try:
            found = [(name, word) for name, word in rule(text)]
        except OnrecordError:
            raise
        except Exception as fault:  # whatever a rule of somebody else's raises
            raise Misconfigured(
                f"The rule for {what} of {self.name!r} failed on a message: "
                f"{type(fault).__name__}. It has to return pairs, as [('formal', 'please')]. "
                f"Nothing of the message was learned; it comes again after 30 seconds."
            ) from fault
        for one in (part for pair in found for part in pair):
            if not isinstance(one, str) or not 0 < len(one) <= LONGEST or not one.isprintable():
                raise Misconfigured(
                    f"The rule for {what} of {self.name!r} returned {shown(one)}. What it returns "
                    f"stands in a prompt: printable text of 1 to {LONGEST} characters."
                )
        return found


DEFAULT: Final = Rules()
