import packages  # noqa: F401 - before what needs them
