"""A seq2seq chatbot you can train and deploy.

from chatbot import Chatbot
Chatbot.load("checkpoints/sample").reply("hello")
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .chat.bot import Chatbot as Chatbot
    from .system.errors import ChatbotError as ChatbotError

__all__ = ["Chatbot", "ChatbotError", "__version__"]
__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    """Load the public names when they are asked for: importing torch takes seconds, `chatbot --help` should not."""
    if name == "Chatbot":
        from .chat.bot import Chatbot

        return Chatbot
    if name == "ChatbotError":
        from .system.errors import ChatbotError

        return ChatbotError
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
