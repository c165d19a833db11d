"""The terminal during a run: bars of tasks that take long, and lines above them.

Tasks run in processes forked from the first one, in which a thread alone writes to the terminal.
Each process sends it what is to be shown through one Unix socket, a datagram each, which arrives
whole. The thread writes past Python's standard streams, whose locks a process forked meanwhile
would find held; forked processes use neither `rich` nor anything else of the thread's.
"""

from __future__ import annotations

import contextlib
import functools
import io
import json
import os
import socket
import sys
import threading
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, TextIO, cast

import luigi.worker

if TYPE_CHECKING:
    import rich.progress

_HIDDEN_S = 1.0
"""What is done sooner gets no bar."""

_FULL_S = 5.0
"""So long a line waits for room in the socket; then it is written past the bars."""

_DATAGRAM_BYTES = 1 << 17
"""Linux takes 200 kB. A longer line is written past the bars."""


def is_interactive(stream: TextIO, environment: Mapping[str, str]) -> bool:
    """Whether a person watches the stream, on a terminal that can move its cursor."""
    moves = environment.get("TERM", "") not in ("dumb", "unknown")
    return stream.isatty() and moves and not environment.get("CI") and hasattr(socket, "AF_UNIX")


class Terminal(io.TextIOBase):
    """A terminal of several processes: a stream whose lines are shown above the bars.

    Args:
        stream: Anything else that is written to it damages the bars.
    """

    def __init__(self, stream: TextIO):
        self._stream = stream
        self._unfinished = ""
        self._receiver, self._sender = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._receiver.settimeout(_HIDDEN_S / 10)
        self._sender.settimeout(_FULL_S)
        self._thread = threading.Thread(target=self._show, name="terminal", daemon=True)
        self._thread.start()

    def write(self, text: str) -> int:
        """Show lines above the bars; one that is not finished waits for its end."""
        lines, newline, self._unfinished = (self._unfinished + text).rpartition("\n")
        if newline and not self._send("line", lines):
            os.write(self._stream.fileno(), f"{lines}\n".encode("utf-8", "backslashreplace"))
        return len(text)

    def show_bar(
        self, label: str, state: str = "", done: int = 0, total: int | None = None
    ) -> None:
        """Show how far a task is, once it has been running for long enough."""
        message = json.dumps(["bar", label, {"state": state, "completed": done, "total": total}])
        with contextlib.suppress(OSError):
            # Never waits for room, as the socket's own `send` would: the next one replaces it.
            os.write(self._sender.fileno(), message.encode())

    def end_bar(self, label: str) -> None:
        """Remove a task's bar, if it has one."""
        self._send("end", label)

    def enter_worker(self) -> None:
        """Have a forked process show what it writes to the standard error output."""
        self._receiver.close()  # So that nothing waits for a first process that was killed.
        sys.stderr = cast(TextIO, self)

    def finish(self) -> None:
        """Show what was sent, and leave the terminal without bars."""
        if self._send("finish"):
            self._thread.join(_FULL_S)
        self._sender.close()

    def _send(self, *message: str) -> bool:
        """Send a message; False if the thread has ended or does not keep up."""
        datagram = json.dumps(message).encode()
        with contextlib.suppress(OSError):
            return len(datagram) <= _DATAGRAM_BYTES and self._sender.send(datagram) > 0
        return False

    def _show(self) -> None:
        """Show what is sent until the end: the thread. A task's bar is hidden while it is young."""
        encoding = self._stream.encoding
        out = os.fdopen(os.dup(self._stream.fileno()), "w", 1, encoding, "backslashreplace")
        show_line: Callable[[str], object] = functools.partial(print, file=out)
        bars: rich.progress.Progress | None = None
        drawn: dict[str, rich.progress.TaskID] = {}
        with self._receiver, out, contextlib.ExitStack() as at_end:
            while True:
                kind, *content = self._receive()
                if kind == "finish":
                    return
                if kind == "line":
                    show_line(content[0])
                elif kind == "bar":
                    label, fields = content
                    if bars is None:
                        bars = at_end.enter_context(_make_bars(out))
                        show_line = functools.partial(bars.console.print, soft_wrap=True)
                    if label not in drawn:
                        drawn[label] = bars.add_task(label, visible=False, **fields)
                    bars.update(drawn[label], **fields)
                elif kind == "end" and bars is not None and content[0] in drawn:
                    bars.remove_task(drawn.pop(content[0]))
                if bars is not None:
                    for task in bars.tasks:
                        bars.update(task.id, visible=(task.elapsed or 0) >= _HIDDEN_S)

    def _receive(self) -> list[Any]:
        """The next message; one of no kind if there is none for a while."""
        try:
            message: list[Any] = json.loads(self._receiver.recv(_DATAGRAM_BYTES))
            return message
        except TimeoutError:
            return [""]


def _make_bars(stream: TextIO) -> rich.progress.Progress:
    # A process forked while modules are imported would wait for their locks for ever.
    with luigi.worker.fork_lock:
        import rich.console
        from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn

    class Console(rich.console.Console):
        def show_cursor(self, show: bool = True) -> bool:
            """Leave the cursor visible: nobody would show it again if the run is killed."""
            return False

    return Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=16),
        TaskProgressColumn(),
        TextColumn("{task.fields[state]}", markup=False),
        console=Console(file=stream, markup=False, emoji=False, highlight=False),
        transient=True,
        redirect_stdout=False,
        redirect_stderr=False,
    )


_terminal: Terminal | None = None


def open_terminal(stream: TextIO) -> Terminal | None:
    """Begin to show the progress of tasks on a stream, if it is a terminal."""
    global _terminal
    if is_interactive(stream, os.environ):
        _terminal = Terminal(stream)
    return _terminal


def terminal() -> Terminal | None:
    """The terminal of this run; None without one."""
    return _terminal
