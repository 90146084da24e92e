"""What a user did wrong, in one sentence."""

from __future__ import annotations

import errno


class UserError(Exception):
    """A mistake the user can mend: the message says what is wrong, where, and what would be right. Exit code 2."""


_DENIED = {
    errno.EACCES: "may not be read, written or entered",
    errno.EPERM: "may not be changed",
    errno.EROFS: "lies on a file system that cannot be written",
    errno.ENAMETOOLONG: "has a name that is too long for its file system",
    errno.ENOTDIR: "lies below something that is no folder",
    errno.ELOOP: "leads over links in a circle",
}


def denied(error: OSError) -> str | None:
    """A sentence for a file that the system does not let us use; None for errors of another kind."""
    if error.errno not in _DENIED or error.filename is None:
        return None
    return f"{error.filename} {_DENIED[error.errno]} ({error.strerror}); give another path, or allow it"
