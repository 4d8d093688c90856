"""The command line's verbs: each file has what `chatbot VERB` does, from its parsed flags to what it tells.

The flags themselves are in `config.arguments`, and `__main__` calls the verbs. Nothing else imports from here: a Python
program calls the packages below. What a verb needs is imported when it runs, so that `--help` and a mistake are quick.
"""
