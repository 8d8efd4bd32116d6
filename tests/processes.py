"""Python processes that start at once: forked from one that has imported the library, and done nothing else.

    process = processes.start("training.py", run, "workers=2")      # a script of this folder, its arguments
    process = processes.start("-m leadline", "predict", photo)      # a module; and "-c CODE"
    process.send_signal(signal.SIGTERM)
    assert process.wait(60) == 0

An import of torch and diffusers takes seconds, and many tests are about what happens to a process. Threads
live in the tests' own process, so it is a helper's that is forked: one for each process that runs tests.
"""

from __future__ import annotations

import atexit
import functools
import json
import os
import runpy
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import IO, Any

HERE = Path(__file__).parent


class Process:
    """What `subprocess.Popen` gives, as far as the tests ask for it; `out` and `err` are texts so far."""

    def __init__(self, pid: int, folder: Path) -> None:
        self.pid, self._folder = pid, folder
        self.returncode: int | None = None

    @property
    def out(self) -> str:
        return (self._folder / "out").read_text()

    @property
    def err(self) -> str:
        return (self._folder / "err").read_text()

    def poll(self) -> int | None:
        if self.returncode is None:
            self.returncode = _ask({"poll": self.pid})
        return self.returncode

    def wait(self, seconds: float = 120) -> int:
        deadline = time.monotonic() + seconds
        while self.poll() is None:
            if time.monotonic() > deadline:
                os.kill(self.pid, signal.SIGKILL)
                raise TimeoutError(f"process {self.pid} has not ended in {seconds} s:\n{self.out}{self.err}")
            time.sleep(0.01)
        assert self.returncode is not None
        return self.returncode

    def send_signal(self, number: int) -> None:
        os.kill(self.pid, number)


def start(what: str, *words: object, env: dict[str, str] | None = None) -> Process:
    """A script of this folder, `-m MODULE` or `-c CODE`, with arguments, in a session of its own."""
    folder = Path(tempfile.mkdtemp(prefix="leadline-process-"))
    more = {"env": dict(os.environ) | (env or {}), "cwd": os.getcwd(), "path": sys.path}
    pid = _ask({"start": what, "words": [str(word) for word in words], "folder": str(folder), **more})
    assert pid is not None
    return Process(pid, folder)


def run(what: str, *words: object, seconds: float = 120) -> Process:
    """The same, ended."""
    process = start(what, *words)
    process.wait(seconds)
    return process


def all_leave(process: Process, seconds: float = 30) -> bool:
    """Whether none of its session is left after a while: a killed process's workers must not outlive it."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            os.killpg(process.pid, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.05)
    return False


def _ask(request: dict[str, Any]) -> int | None:
    tell, hear = _helper()
    tell.write(json.dumps(request) + "\n")
    tell.flush()
    answer: int | None = json.loads(hear.readline())
    return answer


@functools.cache
def _helper() -> tuple[IO[str], IO[str]]:
    pipe = subprocess.PIPE
    helper = subprocess.Popen([sys.executable, __file__], stdin=pipe, stdout=pipe, text=True)
    atexit.register(helper.communicate)  # it ends with its standard input
    assert helper.stdin is not None
    assert helper.stdout is not None
    return helper.stdin, helper.stdout


def _serve() -> None:
    """Answer requests: the pid of a process that was started; the exit code of one, null while it runs."""
    import leadline.cli.predict
    import leadline.evaluate
    import leadline.jobs
    import leadline.methods.e2e_ft
    import leadline.train  # noqa: F401

    for line in sys.stdin:
        request = json.loads(line)
        if "start" in request:
            answer: int | None = os.fork()
            if not answer:
                _become(request)
        else:
            answer, status = os.waitpid(request["poll"], os.WNOHANG)
            answer = os.waitstatus_to_exitcode(status) if answer else None
        print(json.dumps(answer), flush=True)


def _become(request: dict[str, Any]) -> None:
    """Be the process that was asked for, to its end."""
    os.setsid()
    os.chdir(request["cwd"])
    os.environ.clear()
    os.environ.update(request["env"])
    sys.path[:] = request["path"]
    for number, name in enumerate(("out", "err"), start=1):
        os.dup2(os.open(Path(request["folder"], name), os.O_WRONLY | os.O_CREAT), number)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    _execute(request["start"], request["words"])
    sys.exit()


def _execute(what: str, words: list[str]) -> None:
    if what.startswith("-m "):
        sys.argv = [what, *words]
        runpy.run_module(what[3:], run_name="__main__", alter_sys=True)
    elif what.startswith("-c "):
        sys.argv = ["-c", *words]
        exec(what[3:], {"__name__": "__main__"})
    else:
        sys.argv = [str(HERE / what), *words]
        runpy.run_path(sys.argv[0], run_name="__main__")


if __name__ == "__main__":
    _serve()
