"""The network, from ids to logits. Prompts and replies come in as padded tensors of ids (`batch`), and out go logits of
the next word, the decoder's state and attention weights. Read `model` first: it has the equations, with `attention` and
`copy_mechanism` beside it. `kernels` computes the same faster, `tutorial` has what the tutorial does otherwise, and
`growth` adds words to a network.
"""
