"""The terminal while a run is under way: bars of whatever takes longer than a second, and lines.

Tasks run in processes of their own, forked from the one that was started; yet one thread alone, in
that first process, writes to the terminal: it keeps the bars below the lines. All others send it
what is to be shown through a pipe, in messages so short that they are written whole or not at all.
The thread begins with the first task that runs, so a run with nothing to do has none.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import sys
import threading
import time
from collections.abc import Callable, Mapping
from multiprocessing import parent_process
from typing import TYPE_CHECKING, Any, NamedTuple, TextIO, cast

import luigi.worker

if TYPE_CHECKING:
    import rich.console
    import rich.progress

_HIDDEN_S = 1.0
"""What is done sooner gets no bar."""

_REFRESH_S = 0.1
_MESSAGE_BYTES = 400
"""Less than what any system writes to a pipe in one piece (512 bytes and more)."""

_MORE, _LAST = b"+", b"."
_NUMBER_BYTES = 8


class Bar(NamedTuple):
    """How far a task is.

    Attributes:
        label: The task's name.
        phase: What is done; empty if that is not known.
        done: So much of the total.
        total: What there is to do; None if that is not known.
        rows: Rows that were gone through.
    """

    label: str
    phase: str = ""
    done: int = 0
    total: int | None = None
    rows: int = 0


def is_interactive(stream: TextIO, environment: Mapping[str, str]) -> bool:
    """Whether somebody looks on while lines are written, on a terminal that can move its cursor."""
    moves = environment.get("TERM", "") not in ("dumb", "unknown")
    return stream.isatty() and moves and not environment.get("CI")


class Terminal:
    """A terminal to which the processes of a run write, by the thread of the first of them.

    Args:
        stream: Where it is; text that is written there by anything else spoils the bars.

    Attributes:
        lines: What is written there in lines is shown above the bars.
    """

    def __init__(self, stream: TextIO):
        from multiprocessing import Pipe

        self._stream = stream
        self._reader, self._writer = Pipe(duplex=False)
        self._sending = threading.Lock()
        self._thread: threading.Thread | None = None
        self._closed = False
        self.lines = cast(TextIO, _Lines(self.show_line))
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(before=self._start, after_in_child=self._in_child)

    def show_line(self, text: str) -> None:
        """Show a text of one or more lines above the bars."""
        if not self._send({"line": text}):
            self._stream.write(f"{text}\n")
            self._stream.flush()

    def show_bar(self, bar: Bar) -> None:
        """Show how far a task is, once it has been running for long enough."""
        if parent_process() is None:
            self._start()
        self._send({"bar": bar})

    def end_bar(self, label: str) -> None:
        """Take a task's bar away."""
        self._send({"end": label})

    def close(self) -> None:
        """Show what is still under way through the pipe, and leave the terminal as it was."""
        self._closed = True
        if self._thread is not None and self._thread.is_alive():
            self._send({"close": True})
            self._thread.join()
        self._thread = None

    def _start(self) -> None:
        """Start the thread: before the first fork, or before the first bar without any."""
        if self._thread is None and not self._closed:
            self._thread = threading.Thread(target=self._show, name="terminal", daemon=True)
            self._thread.start()

    def _in_child(self) -> None:
        self._sending = threading.Lock()  # Another thread may have held it.
        if not self._closed:
            self._reader.close()
            sys.stderr = self.lines

    def _send(self, message: Mapping[str, object]) -> bool:
        """Send what is to be shown; False if there is no thread that would show it."""
        if self._thread is None:
            return False
        number = os.urandom(_NUMBER_BYTES)
        rest = json.dumps(message).encode()
        try:
            with self._sending:
                while len(rest) > _MESSAGE_BYTES:
                    piece, rest = rest[:_MESSAGE_BYTES], rest[_MESSAGE_BYTES:]
                    self._writer.send_bytes(_MORE + number + piece)
                self._writer.send_bytes(_LAST + number + rest)
        except OSError:  # The thread has ended.
            return False
        return True

    def _show(self) -> None:
        """What the thread does: show what comes until it is told to stop."""
        screen = _Screen(self._stream)
        pieces: dict[bytes, bytes] = {}
        try:
            while True:
                if self._reader.poll(screen.patience_s()):
                    kind, number, piece = _split(self._reader.recv_bytes())
                    pieces[number] = pieces.get(number, b"") + piece
                    if kind == _LAST:
                        message = json.loads(pieces.pop(number))
                        if "close" in message:
                            return
                        screen.take(message)
                screen.refresh()
        finally:
            self._reader.close()  # Whoever sends from now on writes by itself.
            screen.close()


def _split(message: bytes) -> tuple[bytes, bytes, bytes]:
    return message[:1], message[1 : 1 + _NUMBER_BYTES], message[1 + _NUMBER_BYTES :]


class _Lines(io.TextIOBase):
    """Stands for the terminal in another process: gives on whole lines."""

    def __init__(self, show_line: Callable[[str], None]):
        self._show_line = show_line
        self._begun = ""

    def write(self, text: str) -> int:
        *lines, self._begun = (self._begun + text).split("\n")
        if lines:
            self._show_line("\n".join(lines))
        return len(text)


class _Shown:
    """A task on the screen.

    Args:
        bar: How far it is.
    """

    def __init__(self, bar: Bar):
        self.bar = bar
        self.since = time.monotonic()
        self.number: rich.progress.TaskID | None = None
        self.total: int | None = None


class _Screen:
    """Lines, and below them the bars of the tasks that have been running for long enough."""

    def __init__(self, stream: TextIO):
        self._stream = stream
        self._tasks: dict[str, _Shown] = {}
        self._console: rich.console.Console | None = None
        self._bars: rich.progress.Progress | None = None
        self._refreshed_at = 0.0
        self._changed = False

    def patience_s(self) -> float | None:
        """How long nothing has to be done if nothing comes; None if for ever."""
        if self._bars is not None:
            return max(0.0, self._refreshed_at + _REFRESH_S - time.monotonic())
        if self._tasks:
            first = min(task.since for task in self._tasks.values())
            return max(0.0, first + _HIDDEN_S - time.monotonic())
        return None

    def take(self, message: dict[str, Any]) -> None:
        """Take what is to be shown; bars are not drawn before the next `refresh`."""
        match message:
            case {"line": text} if self._bars is not None:
                self._bars.console.print(text, soft_wrap=True)
                self._flush()
            case {"line": text}:
                self._write(f"{text}\n".encode(self._stream.encoding, "backslashreplace"))
            case {"bar": values}:
                bar = Bar(*values)
                self._tasks.setdefault(bar.label, _Shown(bar)).bar = bar
            case {"end": label}:
                task = self._tasks.pop(label, None)
                if task is not None and task.number is not None and self._bars is not None:
                    self._bars.remove_task(task.number)
                    self._changed = True

    def refresh(self) -> None:
        """Draw the bars, if it is time to."""
        now = time.monotonic()
        if now < self._refreshed_at + _REFRESH_S and not self._changed:
            return
        self._changed = False
        visible = [task for task in self._tasks.values() if now >= task.since + _HIDDEN_S]
        if not visible:
            self.close()
            return
        if self._bars is None:
            self._bars = self._begin_bars()
        for task in visible:
            self._draw(task, self._bars)
        self._bars.refresh()
        self._flush()
        self._refreshed_at = now

    def close(self) -> None:
        """Take the bars away."""
        if self._bars is not None:
            self._bars.stop()
            self._flush()
            self._bars = None
            for task in self._tasks.values():
                task.number = None

    def _begin_bars(self) -> rich.progress.Progress:
        if self._console is None:
            self._console = _make_console(self._stream.encoding)
        bars = _make_bars(self._console)
        bars.start()
        return bars

    def _draw(self, task: _Shown, bars: rich.progress.Progress) -> None:
        label, phase, done, total, rows = task.bar
        told = ", ".join(text for text in (phase, f"{rows:,} rows" if rows else "") if text)
        share = f"{min(100, 100 * done // total)}%" if total else ""
        if task.number is not None and task.total != total:
            bars.remove_task(task.number)  # A total cannot be taken back.
            task.number = None
        if task.number is None:
            task.number, task.total = bars.add_task(label, total=total, share="", told=""), total
        bars.update(task.number, completed=done, share=share, told=told)

    def _flush(self) -> None:
        """Write what the console has drawn."""
        assert self._console is not None
        drawing = self._console.file
        assert isinstance(drawing, io.TextIOWrapper)
        drawing.flush()
        drawn = drawing.buffer
        assert isinstance(drawn, io.BytesIO)
        self._write(drawn.getvalue())
        drawn.seek(0)
        drawn.truncate()

    def _write(self, text: bytes) -> None:
        # Past the stream's own buffer and its lock, which a process forked now would find locked.
        while text:
            text = text[os.write(self._stream.fileno(), text) :]


def _drawing(encoding: str) -> io.TextIOWrapper:
    """Where a console draws what is then written in one go."""
    return io.TextIOWrapper(io.BytesIO(), encoding, errors="backslashreplace", newline="")


def _make_console(encoding: str) -> rich.console.Console:
    # No process may be forked while modules are being loaded: it would wait for them for ever.
    with luigi.worker.fork_lock:
        import rich.console
        import rich.progress  # noqa: F401

        class Console(rich.console.Console):
            def show_cursor(self, show: bool = True) -> bool:
                """Leave the cursor as it is: nobody would show it again if the run is killed."""
                return False

        console = Console(
            file=_drawing(encoding),
            force_terminal=True,
            force_interactive=True,
            legacy_windows=False,
            markup=False,
            emoji=False,
            highlight=False,
        )
        # It loads more when it draws for the first time.
        bars = _make_bars(console)
        with bars:
            bars.add_task("…", total=None, share="", told="…")
            bars.refresh()
        console.file = _drawing(encoding)
    return console


def _make_bars(console: rich.console.Console) -> rich.progress.Progress:
    from rich.progress import BarColumn, Progress, TextColumn
    from rich.table import Column

    def text(template: str) -> TextColumn:
        column = Column(no_wrap=True, overflow="ellipsis")
        return TextColumn(template, markup=False, table_column=column)

    return Progress(
        text("{task.description}"),
        BarColumn(bar_width=16),
        text("{task.fields[share]:>4}"),
        text("{task.fields[told]}"),
        console=console,
        auto_refresh=False,
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


def show_bar(bar: Bar) -> None:
    """Show how far a task is; nothing without a terminal."""
    if _terminal is not None:
        _terminal.show_bar(bar)


def end_bar(label: str) -> None:
    """Take a task's bar away."""
    if _terminal is not None:
        _terminal.end_bar(label)


class RunningTask(contextlib.AbstractContextManager["RunningTask"]):
    """What Luigi puts around each run of a task, in its process: a bar while it lasts.

    Args:
        process: Luigi's, of the task.
    """

    def __init__(self, process: luigi.worker.TaskProcess):
        self._label = str(process.task)

    def __enter__(self) -> RunningTask:
        show_bar(Bar(self._label))
        return self

    def __exit__(self, kind: type[BaseException] | None, *error: object) -> None:
        end_bar(self._label)
        if kind is not None and issubclass(kind, KeyboardInterrupt) and parent_process():
            sys.exit(_INTERRUPTED)  # The first process tells of it.


_INTERRUPTED = 130
