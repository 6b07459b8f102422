"""The one exception that users meet: its message says what is wrong, where, and how to mend it."""


class UserError(Exception):
    """Bad input. Scripts print the message as one line and exit with status 2 (`tool.config.run_main`)."""

    def __str__(self):
        lines = [line.strip() for line in super().__str__().splitlines() if line.strip()]
        # Raised in a DataLoader's worker, it arrives wrapped in that process's traceback, whose last line it is.
        if lines and lines[-1].startswith("errors.UserError: "):
            return lines[-1].removeprefix("errors.UserError: ")
        return " ".join(lines)  # what names a file or quotes its words may hold line breaks


class OtherProcessFailed(UserError):
    """This process stops only because another of its group did, whose message tells why."""
