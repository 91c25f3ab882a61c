"""The two ways Eyas refuses to go on.

Exception
└── EyasError           one clear sentence; the command line prints it without a traceback
    ├── UserError       the input is wrong: what was found where, what was expected, what to do (exit 2)
    └── ContractError   a promise was broken: parity, or the budget on the final file (exit 1)
"""


class EyasError(Exception):
    """Base of everything Eyas raises on purpose."""

    exit_code: int


class UserError(EyasError, ValueError):
    """The user can mend this: the message says what was found, what was expected and what to do."""

    exit_code = 2


class ContractError(EyasError):
    """The run did its work, and the result does not hold what was promised."""

    exit_code = 1


def first_line(error: Exception) -> str:
    """What went wrong, without the traceback that some errors carry in their text."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]
