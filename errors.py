"""The one exception that users meet: its message says what is wrong, where, and how to mend it."""


class UserError(Exception):
    """Bad input. Scripts print the message as one line and exit with status 2 (`tool.config.run_main`)."""
