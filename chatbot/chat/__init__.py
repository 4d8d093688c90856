"""A person talks to a trained network. In come a path and sentences; out come replies as text, at once or word by
word. Read `bot.py` first: a `Chatbot` opens every kind of file that a network is kept in, answers and never changes, so
any number of people may share one. `conversation.py` remembers the turns of one of them, and `terminal.py` is what
`chatbot chat` shows; `pictures.py` draws attention.
"""
