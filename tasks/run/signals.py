"""SIGINT, SIGTERM and SIGHUP end a run: its processes, one line, exit status 128 + the number.

`tasks` installs the handler before it imports anything else, so this module imports next to
nothing.

Python runs a handler in the main thread between two of its instructions, and that may be in a load
that takes a minute. But at once, whatever the main thread does, it writes the signal's number into
a pipe. A thread reads it and ends the process. The handler itself only holds the main thread, so
that Luigi does not see the tasks' processes end. Forked processes die of these signals at once.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import select
import signal
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

NUMBERS = tuple(
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)
)
STOPS_WITH_STDIN = "PIPELINE_STOPS_WITH_STDIN"
"""Set in the environment of a run that a byte on its standard input, or its end, is to stop."""

_SCRIPTS = "controller-logs", "controller-logs.exe"

_LONGEST_FORK_S = 2.0
_CHILDREN_END_S = 5.0
_ACTIONS_S = 10.0
_WRITABLE_S = 2.0

_caught: tuple[int, ...] = ()
_writer = -1
_is_ending = False
_main_is_held = False
_forking = threading.Lock()
_mask: set[int] = set()
_before: list[Callable[[int], object]] = []
_instead: Callable[[int], object] | None = None
_exit_status: int | None = None


def before_stop(action: Callable[[int], object]) -> None:
    """Have something done between the end of the other processes and the last line.

    Args:
        action: Is given the signal's number. Called in another thread; it must neither import nor
            wait long.
    """
    _before.append(action)


def stop_instead(action: Callable[[int], object]) -> None:
    """Have a signal, the first one, call something in place of ending the process.

    Args:
        action: Is given the signal's number. Called in another thread.
    """
    global _instead
    _instead = action


def last_line(number: int) -> str:
    """The line that reports the end by a signal.

    >>> last_line(15)
    'Stopped by SIGTERM. What is done stays; run again to go on.'
    """
    return f"Stopped by {signal.Signals(number).name}. What is done stays; run again to go on."


def exit_status(number: int) -> int:
    """The status of a process that a signal has ended, as shells have it."""
    return 128 + number


def write_line(line: str, stream: int = 2) -> None:
    """Write a line past Python's streams, unless nobody takes it."""
    with contextlib.suppress(OSError, ValueError):
        select.select([], [stream], [], _WRITABLE_S)  # For ever in Ctrl-S, without a limit.
    with contextlib.suppress(OSError):
        begin = "\r" if os.isatty(stream) else ""  # Over the ^C of the terminal.
        os.write(stream, f"{begin}{line}\n".encode())


# --- at the beginning ------------------------------------------------------------------------


def install() -> None:
    """Handle the signals, if this process is `luigi` or `python -m tasks`.

    One that is ignored already, as `nohup` does, stays so.
    """
    global _caught, _writer
    if not _is_own_program():
        return
    caught = tuple(number for number in NUMBERS if signal.getsignal(number) != signal.SIG_IGN)
    if "--multiprocessing-fork" in sys.orig_argv:  # The spawned process of a task.
        for number in caught:
            signal.signal(number, signal.SIG_DFL)
        return
    reader, _writer = os.pipe()
    if os.name != "nt":
        os.set_blocking(_writer, False)
    _caught = caught
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(
            before=_before_fork, after_in_parent=_after_fork, after_in_child=_in_child
        )
    sys.exit = _exit
    atexit.register(_leave)
    threading.Thread(target=_watch, args=[reader], name="signals", daemon=True).start()
    for number in caught:
        signal.signal(number, _hold)
    signal.set_wakeup_fd(_writer, warn_on_full_buffer=False)
    if os.environ.pop(STOPS_WITH_STDIN, ""):
        threading.Thread(target=_watch_stdin, name="stdin", daemon=True).start()


def _is_own_program() -> bool:
    """Whether people started `luigi` or `controller-logs`, or `python -m` luigi or tasks."""
    program = Path(sys.argv[0])
    if program.name == "-m":  # While the package is looked for.
        return sys.orig_argv[-len(sys.argv)] in ("tasks", "-mtasks")
    if program.name == "__main__.py":
        return program.parent.name in ("luigi", "tasks")
    return program.name in ("luigi", "luigi.exe", "luigi-script.pyw", *_SCRIPTS)


# --- forks -----------------------------------------------------------------------------------


def _before_fork() -> None:
    """Fork no process while the others are ended, and none that would write into the pipe."""
    global _mask
    _forking.acquire()
    _mask = signal.pthread_sigmask(signal.SIG_BLOCK, _caught)


def _after_fork() -> None:
    mask = _mask
    _forking.release()
    signal.pthread_sigmask(signal.SIG_SETMASK, mask)


def _in_child() -> None:
    """Have the signals end a forked process at once, in the middle of anything, without a word."""
    global _caught
    signal.set_wakeup_fd(-1)
    for number in _caught:
        signal.signal(number, signal.SIG_DFL)
    _caught = ()
    atexit.unregister(_leave)
    _after_fork()


# --- the end by a signal ---------------------------------------------------------------------


def _hold(number: int, frame: object) -> None:
    """The handler: keep the main thread from going on, while `_watch` ends the process."""
    global _main_is_held
    with contextlib.suppress(OSError):
        os.write(_writer, bytes([number]))  # Once more: a library may have taken `set_wakeup_fd`.
    while _instead is None or _is_ending:
        _main_is_held = True
        time.sleep(60)


def _watch(reader: int) -> None:
    """End the process when a number arrives: the thread. It holds no lock when one is forked."""
    is_stopping = False
    while True:
        for number in os.read(reader, 64):
            if number not in _caught or is_stopping:
                continue
            is_stopping = True
            if _instead is None:
                _end(number)
            try:
                _instead(number)
            except Exception:  # What was to be called is gone.
                _end(number)


def _watch_stdin() -> None:
    """Have the process that started this one end it, also by ending itself."""
    number = os.read(0, 1)
    signal.raise_signal(number[0] if number else signal.SIGTERM)


def _end(number: int) -> NoReturn:
    global _is_ending
    _is_ending = True
    try:
        _prevent_forks()
        _end_descendants()
        # Should one import something, it waits for the main thread, which may be held in an import.
        acting = threading.Thread(target=_act, args=[number], daemon=True)
        acting.start()
        acting.join(_ACTIONS_S)
        write_line(last_line(number), _silence_others())
    finally:
        os._exit(exit_status(number))


def _act(number: int) -> None:
    for action in reversed(_before):
        with contextlib.suppress(Exception):
            action(number)


def _prevent_forks() -> None:
    """Wait for a fork that takes place, unless the main thread is held in the middle of it."""
    latest = time.monotonic() + _LONGEST_FORK_S
    while not _forking.acquire(timeout=0.01):
        if _main_is_held or time.monotonic() > latest:
            return


def _end_descendants() -> None:
    """Kill the processes of the tasks, and those they have started.

    Nothing is lost: outputs replace the previous ones when they are whole, loads are transactions.
    """
    if not Path("/proc/self").exists():  # Not Linux: processes that were spawned, if any.
        if "multiprocessing" in sys.modules:
            for child in sys.modules["multiprocessing"].active_children():
                child.kill()
        return
    latest = time.monotonic() + _CHILDREN_END_S
    while (found := _descendants(os.getpid())) and time.monotonic() < latest:
        for process in found:
            with contextlib.suppress(OSError):
                os.kill(process, signal.SIGKILL)
        time.sleep(0.002)
        with contextlib.suppress(OSError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass


def _descendants(ancestor: int) -> list[int]:
    """The processes that a process and its descendants have started, until they are waited for."""
    parents = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            parents[int(path.parent.name)] = int(path.read_bytes().rpartition(b")")[2].split()[1])
    found = {ancestor}
    while more := {one for one, parent in parents.items() if parent in found} - found:
        found |= more
    return list(found - {ancestor})


def _silence_others() -> int:
    """Have what other threads write go nowhere; where the standard error output was."""
    try:
        stream = os.dup(2)
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, 1)
        os.dup2(nowhere, 2)
    except OSError:
        return 2
    return stream


# --- the end by itself -----------------------------------------------------------------------


def _exit(status: object = None) -> NoReturn:
    """`sys.exit`, which says with what status the process is to end."""
    global _exit_status
    _exit_status = 0 if status is None else status & 0xFF if isinstance(status, int) else 1
    raise SystemExit(status)


def ending_with() -> int:
    """The exit status of this process, which is ending by itself."""
    if hasattr(sys, "last_type"):  # An uncaught error.
        return 1
    return _exit_status or 0


def _leave() -> None:
    """End the process after all else is done.

    Python would go on for a tenth of a second in which it handles no signal.
    """
    with contextlib.suppress(Exception):
        if "multiprocessing.util" in sys.modules:
            sys.modules["multiprocessing.util"]._exit_function()
        if "logging" in sys.modules:
            sys.modules["logging"].shutdown()
        sys.stdout.flush()
        sys.stderr.flush()
        if _exit_status is not None and not hasattr(sys, "last_type"):  # No uncaught error.
            os._exit(_exit_status)
