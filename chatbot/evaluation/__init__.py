"""How good is a trained run?

A run's checkpoint and prepared pairs come in; out go the likelihood of the human replies (likelihood.py),
figures of the replies that the bot gives itself (answers.py asks for them, replies.py has BLEU, distinct-n and
entropy, broken.py tells broken English), and tables for people (scoreboard.py). Read examination.py first: it is what
`chatbot evaluate` does. Training uses likelihood.py alone.
"""
