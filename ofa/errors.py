"""What a user did wrong, in one sentence."""


class UserError(Exception):
    """A mistake the user can mend: the message says what is wrong, where, and what would be right. Exit code 2."""
