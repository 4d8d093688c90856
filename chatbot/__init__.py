"""A seq2seq chatbot you can train and deploy.

from chatbot import Chatbot
Chatbot.load("checkpoints/sample").reply("hello")
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .chat.bot import Chatbot as Chatbot
    from .config.settings import DecodingConfig as DecodingConfig
    from .system.errors import ChatbotError as ChatbotError

__version__ = "0.3.0"
_PUBLIC = {"Chatbot": "chat.bot", "DecodingConfig": "config.settings", "ChatbotError": "system.errors"}
__all__ = ["Chatbot", "ChatbotError", "DecodingConfig", "__version__"]


def __getattr__(name: str) -> Any:
    """Load the public names when they are asked for: importing torch takes seconds, `chatbot --help` should not."""
    if name in _PUBLIC:
        return getattr(importlib.import_module(f"{__name__}.{_PUBLIC[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
