"""A listener that keeps what is said."""


class Heard:
    """Sentences in `said`; what tells of progress is not kept."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def begin(self, label: str, total: int | None) -> None: ...
    def advance(self, label: str, done: int, note: str) -> None: ...
    def end(self, label: str) -> None: ...

    def say(self, text: str) -> None:
        self.said.append(text)
