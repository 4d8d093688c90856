"""A trained network on disk. In come a network's weights, its vocabulary and its settings; out comes a folder
`checkpoints/RUN`, and from that folder the same network again, on another day or another machine. A checkpoint is
plain data, and nothing in it is run. Read `checkpoint.py` first (one file), then `directory.py` (the files of one
run and their order). `quantization.py` keeps matrices in 8 bits; `tutorial.py` reads a checkpoint of the PyTorch
chatbot tutorial.
"""
