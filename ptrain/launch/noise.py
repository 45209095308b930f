"""What mpirun prints on stderr about the end of a job: dropped where ranks have said it, else in plain words."""

import re
import signal

RULE = re.compile(rb"-{74}\r?\n")
"""The line above and below each of Open MPI's messages."""

# First lines of messages about ranks that ended. A message that starts in another way is the user's to see.
ABOUT_THE_END = re.compile(
    rb"Primary job +terminated normally, but"
    rb"|(mpirun|mpiexec|prterun|orterun) (detected that one or more processes exited with non-zero status"
    rb"|noticed that process rank|has exited due to process rank)"
    rb"|MPI_ABORT was invoked on rank"
)
ABORT_OF_MPICH = re.compile(rb"Abort\(\d+\) on node \d+ .*application called MPI_Abort")
KILLED = re.compile(rb"process rank (\d+) with PID \d+ on node (\S+) exited on\s+signal (\d+)")
HINTS: dict[int, str] = {signal.SIGKILL: ", as when memory runs out", signal.SIGSEGV: ", a crash inside a library"}


class NoiseFilter:
    """Takes mpirun's stderr in pieces and gives back what the user is to see, as soon as that can be told."""

    def __init__(self) -> None:
        self.signal: int | None = None
        """Number of the signal that ended a rank, once mpirun told of one."""
        self._line = b""  # a line's beginning that may turn out to be one of mpirun's
        self._inside = False  # whether the beginning of the present line is shown already
        self._rule = b""  # a rule whose message has not begun yet
        self._message: bytes | None = None  # a message about the end, so far

    def feed(self, data: bytes) -> bytes:
        """What of ``data``, and of what was held back before, is to be shown now."""
        shown = b""
        *lines, self._line = (self._line + data).split(b"\n")
        for line in lines:
            shown += self._whole(line + b"\n")
        if self._line and not self._held():
            shown, self._line, self._inside = shown + self._line.lstrip(b"\0"), b"", True
        return shown

    def close(self) -> bytes:
        """What is still to be shown when the output is at its end."""
        if self._message is not None:
            return self._cause(self._message)
        return self._rule + self._line.strip(b"\0 ")

    def _held(self) -> bool:
        if self._inside:
            return False
        # Open MPI 5 writes a zero byte behind some of its messages.
        return bool(self._rule or self._message is not None) or self._line.strip(b"-\0") == b""

    def _whole(self, line: bytes) -> bytes:
        """What is shown once this line is whole."""
        if self._inside:
            self._inside = False
            return line
        line = line.lstrip(b"\0")
        if self._message is not None:
            if RULE.fullmatch(line):
                message, self._message = self._message, None
                return self._cause(message)
            self._message += line
            return b""
        rule, self._rule = self._rule, b""
        if RULE.fullmatch(line):
            self._rule = line
            return rule
        if rule and ABOUT_THE_END.match(line):
            self._message = line
            return b""
        return rule + (b"" if ABORT_OF_MPICH.match(line) else line)

    def _cause(self, message: bytes) -> bytes:
        """A line about the first rank that a signal ended: unlike all others it could not speak for itself."""
        match = KILLED.search(message)
        if match is None or self.signal is not None:
            return b""
        self.signal = int(match[3])
        who, hint = f"rank {int(match[1])} on {match[2].decode()}", HINTS.get(self.signal, "")
        name = next((known.name for known in signal.Signals if known == self.signal), "unknown")
        return f"error: {who} was ended by signal {self.signal} ({name}){hint}\n".encode()
