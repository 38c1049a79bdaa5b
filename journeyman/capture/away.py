"""Tells a store that can take nothing now from records that it will never take."""

from sqlalchemy.exc import DatabaseError, InterfaceError, OperationalError


def store_is_away(error: Exception) -> bool:
    """Whether a store that raises this can take nothing now; anything else is about the records."""
    # What the store explains in words of its own, locked, full or unreachable, has the database's error as its cause.
    return isinstance(error, OSError | OperationalError | InterfaceError) or isinstance(error.__cause__, DatabaseError)
