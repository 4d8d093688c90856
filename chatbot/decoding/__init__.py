"""Finding replies. In come a network's encoder and decoder and prompts as ids; out come replies as ids, each with its
log-probability and its attention. The searches know the network by its two calls only, so the same code runs on the
eager parts, on traced ones and on ONNX sessions. Read `search.py` first (greedy search, and what every search keeps
to); then `beam.py`, `sampling.py`, and `generate.py`, which puts them behind one call and scores given replies.
"""
