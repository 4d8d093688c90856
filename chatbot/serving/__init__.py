"""Programs talk to a trained network. In come many prompts, from a pipe, a file or over HTTP; out come as many replies.
`lines.py` has one reply for each line. `application.py` is the server: requests come through `guard.py` to a door
(`/reply`, or OpenAI's in `completions.py`), are checked by `schema.py`, and meet in `batches.py`, which answers those
that wait together. `server.py` puts it on a socket; `page/` is what a browser shows.
"""
