"""Data sets. Every script imports this package first, so that a Python without the packages gets one line here."""

import packages  # noqa: F401
