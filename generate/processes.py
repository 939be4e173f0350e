"""Workers as processes of this machine."""

import contextlib
import itertools
import logging
import multiprocessing
import signal
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection, wait
from typing import Any

import torch

from .pool import Report
from .seeds import Block
from .worker import Drawn, Task, Worker

Draw = Callable[[Block], Drawn]
_READY = "ready"


class Processes:
    """One process for each given device; each has its own pipe, so none waits for others.

    Args:
        make: called in each process with its device; draws a block.
        devices: one for each process.
    """

    def __init__(self, make: Callable[[torch.device], Draw], devices: Sequence[torch.device]):
        self._make, self._context = make, multiprocessing.get_context("spawn")
        self._numbers = itertools.count()
        self._workers: dict[int, tuple[Any, Any, torch.device]] = {}
        for device in devices:
            self._start(device)

    def _start(self, device: torch.device) -> None:
        ours, theirs = self._context.Pipe()
        process = self._context.Process(target=_serve, args=(theirs, self._make, device))
        process.daemon = True
        process.start()
        theirs.close()
        self._workers[next(self._numbers)] = process, ours, device

    def give(self, worker: int, block: Block) -> None:
        # If it is gone, its end of the pipe reports that.
        with contextlib.suppress(OSError):
            self._workers[worker][1].send(block)

    def reports(self) -> Sequence[Report]:
        waiting = {connection: worker for worker, (_, connection, _) in self._workers.items()}
        return [self._receive(waiting[end]) for end in wait(list(waiting))]  # type: ignore[index]

    def _receive(self, worker: int) -> Report:
        process, connection, device = self._workers[worker]
        try:
            message = connection.recv()
        except (EOFError, OSError):
            process.join(10)
            message = f"A process ended with exit status {process.exitcode}.", False
        if message == _READY:
            return Report(worker)
        if isinstance(message, Drawn):
            return Report(worker, message)
        error, stops = message
        del self._workers[worker]
        connection.close()
        if not stops:
            self._start(device)
        return Report(worker, error=error, stops=stops)

    def close(self) -> None:
        for process, connection, _ in self._workers.values():
            connection.close()
            process.terminate()
        for process, *_ in self._workers.values():
            process.join(5)


def make_worker(task: Task, device: torch.device) -> Draw:
    """Return the function that draws the blocks of a run, with the pictures written here."""
    return Worker(task, device)


def _serve(connection: Connection, make: Callable[[torch.device], Draw], device: Any) -> None:
    """Draw blocks until the other end of the pipe is closed."""
    # Ctrl-C goes to all processes of a terminal; the first one stops the others.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    logging.disable(logging.WARNING)  # the first process prints it once
    try:
        draw = make(device)
        connection.send(_READY)
        while True:
            connection.send(draw(connection.recv()))
    except (EOFError, ConnectionError):  # the first process has ended
        return
    except Exception as error:
        # Errors in the user's input, and of the disk, would end every block.
        connection.send((describe(error), isinstance(error, ValueError | OSError)))


def describe(error: Exception) -> str:
    """Return an error as text."""
    if isinstance(error, OSError) and error.strerror:
        where = f" ({error.filename})" if error.filename else ""
        return f"A file cannot be read or written: {error.strerror}{where}."
    if isinstance(error, ValueError):
        return str(error)
    return f"{type(error).__name__}: {error}."
