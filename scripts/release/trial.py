"""An environment with nothing in it but an installed wheel, and what is tried in it."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Final

TYPED: Final = """
from typing import assert_type

from onrecord import Items, Message, Session, Store, Window

with Store("sqlite://") as store:
    chat = store.session("a", user="ada")
    assert_type(chat, Session)
    assert_type(chat.append(("user", "Hello")), list[Message])
    assert_type(chat.window(tokens=1000), Window)
    assert_type(chat.tail(1)[0].text, str)
    assert_type(store.items("facts"), Items)


async def later(store: Store) -> list[Message]:
    return await store.session("a").atail(3)
"""
TYPED_WITH: Final = """
from langchain_onrecord import OnrecordMiddleware, histories
from langgraph_onrecord import OnrecordSaver, OnrecordStore
from llama_index_onrecord import OnrecordMemory
from onrecord import Store

store = Store("sqlite://")
saver: OnrecordSaver = OnrecordSaver(store)
lasting: OnrecordStore = OnrecordStore(store)
memory: OnrecordMemory = OnrecordMemory(store=store, session_id="a")
middleware = OnrecordMiddleware(store)
history = histories(store)
"""
WRONG: Final = """
from onrecord import Store

Store("sqlite://").session(1)
"""
"""What mypy has to refuse, or it sees no types at all."""


class Failed(Exception):
    """Something that was tried went wrong."""


def run(
    command: list[str | Path], *, cwd: Path, env: dict[str, str] | None = None, fails: bool = False
) -> str:
    """Run a command, and give what it printed; Failed, with that, where it ends otherwise."""
    shown = " ".join(str(part) for part in command)
    done = subprocess.run(
        command,
        cwd=cwd,
        env=env,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        errors="replace",
        check=False,
    )
    if (done.returncode != 0) != fails:
        last = "\n".join(done.stdout.strip().splitlines()[-25:])
        raise Failed(f"{shown}\nended with {done.returncode}:\n{last}")
    return done.stdout


class Trial:
    """One new environment, far from any checkout."""

    def __init__(self, folder: Path, base: Path, constraints: Path) -> None:
        folder.mkdir(parents=True)
        self.folder = folder
        self._constraints = constraints
        self._uv = shutil.which("uv")
        self.python = folder / "env" / "bin" / "python"
        if self._uv:
            run([self._uv, "venv", "--quiet", "--python", base, folder / "env"], cwd=folder)
        else:
            run([base, "-m", "venv", folder / "env"], cwd=folder)

    def install(self, wheel: Path, extras: str = "") -> None:
        """Install a wheel and what its metadata ask for, in the versions that were tested."""
        pip: list[str | Path] = [self.python, "-m", "pip", "--disable-pip-version-check"]
        if self._uv:
            pip = [self._uv, "pip"]
        install = [*pip, "install", "--quiet", "--constraint", self._constraints]
        if self._uv:
            install += ["--python", self.python]
        wanted = f"onrecord[{extras}]" if extras else "onrecord"
        run([*install, f"{wanted} @ {wheel.as_uri()}"], cwd=self.folder, env=self._env())
        if not self._uv:
            run([*pip, "check"], cwd=self.folder, env=self._env())
        where = self.tell("import onrecord; print(onrecord.__file__)")
        if not Path(where.strip()).is_relative_to(self.folder):
            raise Failed(f"onrecord comes from {where.strip()}, and not from the wheel")

    def tell(self, code: str) -> str:
        """What a line of Python prints there."""
        return run([self.python, "-c", code], cwd=self.folder, env=self._env())

    def play(self, script: Path, *, says: str, beside: tuple[Path, ...] = ()) -> None:
        """Run an example from a copy of it, and expect that it says something."""
        for file in (script, *beside):
            shutil.copy(file, self.folder)
        told = run([self.python, script.name], cwd=self.folder, env=self._env())
        if says not in told:
            raise Failed(f"{script.name} does not say {says!r}:\n{told[-2000:]}")

    def check_types(self, program: str) -> None:
        """Check a program against the installed wheel, with the mypy of this environment."""
        self._mypy(program, fails=False)
        refused = self._mypy(WRONG, fails=True)
        if not re.search(r"wrong|incompatible type", refused) or "import-untyped" in refused:
            raise Failed(f"mypy sees no types of the wheel:\n{refused}")

    def _mypy(self, program: str, *, fails: bool) -> str:
        file = self.folder / "typed.py"
        file.write_text(program, encoding="utf-8")
        command = [sys.executable, "-m", "mypy", "--strict", "--config-file", os.devnull]
        command += ["--cache-dir", os.devnull, "--python-executable", str(self.python), file.name]
        return run([*command], cwd=self.folder, env=self._env(), fails=fails)

    def _env(self) -> dict[str, str]:
        """Ours, without what leads back to a checkout; what is written stays in the folder."""
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "ONRECORD_"))}
        kept.pop("VIRTUAL_ENV", None)
        return kept | {"TMPDIR": str(self.folder), "PYTHONWARNINGS": "default"}
