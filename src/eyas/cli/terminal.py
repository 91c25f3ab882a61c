"""Where the command line writes: results on `out`, errors and progress on `err`."""

import sys
from time import perf_counter

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

out = Console(highlight=False, soft_wrap=True)
err = Console(stderr=True, highlight=False, soft_wrap=True)


class Bars:
    """Progress on the terminal's error stream: bars with the time left, and plain lines where there is no terminal."""

    def __init__(self) -> None:
        columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.percentage:>3.0f}%"), TimeRemainingColumn())
        note = TextColumn("[dim]{task.fields[note]}")
        self.bars = Progress(*columns, note, console=err, transient=True, disable=not err.is_terminal)
        self.tasks: dict[str, tuple[TaskID, float]] = {}

    def __enter__(self) -> "Bars":
        return self

    def __exit__(self, *error: object) -> None:
        if self.bars.live.is_started:
            self.bars.stop()

    def begin(self, label: str, total: int | None) -> None:
        """Show a bar."""
        self.bars.start()
        self.tasks[label] = self.bars.add_task(label, total=total, note=""), perf_counter()

    def advance(self, label: str, done: int, note: str) -> None:
        """Move it."""
        self.bars.update(self.tasks[label][0], completed=done, note=escape(note))

    def end(self, label: str) -> None:
        """Leave one line in its place, unless the work was given up."""
        task, began = self.tasks.pop(label)
        note = self.bars.tasks[self.bars.task_ids.index(task)].fields["note"]
        self.bars.remove_task(task)
        if sys.exc_info()[0] is not None:  # the work is left because of an exception
            return
        self.bars.console.print(f"[green]✓[/] {label} [dim]{_duration(perf_counter() - began)}  {note}")

    def say(self, text: str) -> None:
        """One line."""
        self.bars.console.print(f"[dim]{escape(text)}")


def _duration(seconds: float) -> str:
    return f"{seconds:.1f} s" if seconds < 60 else f"{seconds // 60:.0f} min {seconds % 60:.0f} s"
