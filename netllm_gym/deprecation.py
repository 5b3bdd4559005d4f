"""Old names that go on working for one release."""

from __future__ import annotations

import warnings


def renamed(old: str, new: str) -> property:
    """Return a property that reads the attribute `new` under its name of the last release and warns.

    Args:
        old: the name of the last release, for the warning.
        new: the name of today.
    """

    def read(self: object) -> object:
        message = f"{type(self).__name__}.{old} is called {new} now; the old name goes with the next release"
        warnings.warn(message, DeprecationWarning, stacklevel=2)
        return getattr(self, new)

    return property(read, doc=f"Deprecated: use ``{new}``.")
