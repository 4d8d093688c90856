"""A person talks to a trained network. In come a path and sentences; out come replies as text, at once or word by
word. Read `bot.py` first: a `Chatbot` answers and never changes, so any number of people may share one.
`conversation.py` remembers the turns of one of them, `loading.py` tells which kind of file a path is, and
`terminal.py` with `commands.py` is what `chatbot chat` shows; `pictures.py` draws attention.
"""
