"""The errors that ptrain raises on purpose, and the exit codes of the command line.

PtrainError                   exit code 1
├── InputError                exit code 2: what was given, what was expected, the fix, in one line
│   ├── ConfigError           a flag, a key of the TOML file, or a combination of them
│   ├── DataError             a file or an array that cannot be trained on
│   │   └── MissingValueError a table with a missing value, and no --missing that says what to do
│   ├── LaunchError           ranks, launcher, backend or device do not fit together
│   └── RunDirectoryError     a run directory or checkpoint that cannot be used
├── DivergedError             exit code 3: the loss or a gradient is not finite
└── StopRequested             exit code 75: stopped at a step boundary, checkpoint written, to be requeued
"""

from collections.abc import Iterator
from contextlib import contextmanager

EXIT_DONE = 0
EXIT_DEFECT = 1
EXIT_INPUT = 2
EXIT_DIVERGED = 3
EXIT_REQUEUE = 75


class PtrainError(Exception):
    """Base of every error that ptrain raises on purpose.

    ``agreed``: every rank raises it alike, so rank 0 prints it and all ranks leave in good order.
    """

    exit_code = EXIT_DEFECT

    def __init__(self, message: str = "", *, agreed: bool = False) -> None:
        super().__init__(message)
        self.agreed = agreed


class InputError(PtrainError):
    """The user's input is at fault. The message is one line: what was given, what was expected, the fix."""

    exit_code = EXIT_INPUT

    def __str__(self) -> str:
        """The message on one line: a path with a newline or an escape sequence in it is shown escaped."""
        return "".join(
            letter if letter.isprintable() else letter.encode("unicode_escape").decode() for letter in super().__str__()
        )


class ConfigError(InputError, ValueError):
    """A flag, a configuration key, or a combination of them is not valid."""


class DataError(InputError):
    """A file or an array cannot be read or cannot be trained on."""


class MissingValueError(DataError):
    """A table has a missing value, and nothing was said about them."""


class LaunchError(InputError):
    """Ranks, launcher, backend or device do not fit together."""


class RunDirectoryError(InputError):
    """A run directory or a checkpoint cannot be used."""


class DivergedError(PtrainError):
    """The loss or a gradient is not finite; the parameters were not touched by that step."""

    exit_code = EXIT_DIVERGED


class StopRequested(PtrainError):
    """Training stopped at a step boundary on request, with its checkpoint written."""

    exit_code = EXIT_REQUEUE


@contextmanager
def os_error_as(kind: type[InputError], cannot: str, fix: str) -> Iterator[None]:
    """Turn an OSError of the block into ``kind``: what ``cannot`` be done, the system's reason, and the fix."""
    try:
        yield
    except OSError as error:
        raise kind(f"{cannot} ({error.strerror or error}); {fix}") from None
