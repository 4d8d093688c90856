"""The one exception that a user's mistake ends in."""


class ChatbotError(Exception):
    """Something the user can mend: a path, a setting, a damaged file, a corpus with nothing in it.

    The message is one line: what is wrong, where, and what to do next. The command line prints it
    on stderr and leaves with exit code 2; a traceback is for defects of this program only.
    """


class LostProcessError(ChatbotError):
    """Another of the processes that train together has ended; what it said itself is the message to read."""
