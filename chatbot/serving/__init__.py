"""Programs talk to a trained network. In come many prompts, from a pipe or a file; out come as many replies in the
same order. Read `lines.py`: one reply for each line, as it comes or in batches. A server over HTTP belongs into
this package: a `Chatbot` is never changed by what it is asked, so the server's requests can share one.
"""
