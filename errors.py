"""The one exception that users meet: its message says what is wrong, where, and how to mend it."""


class UserError(Exception):
    """Bad input. Scripts print the message as one line and exit with status 2 (`tool.config.run_main`)."""

    def __str__(self):
        # Raised in a DataLoader's worker, it arrives wrapped in that process's traceback, whose last line it is.
        return super().__str__().strip().rsplit("\n", 1)[-1].removeprefix("errors.UserError: ")
