"""Training a network. In come prepared pairs and settings; out comes a run directory with checkpoints, metrics and
TensorBoard events. Read `loop.py` first: it is the page that says what this program does. `data.py` is what a training
begins with and `steps.py` what each step reads; `optimization.py` has the loss and the optimiser, `ngrams.py` the soft
targets, `tutorial.py` what the PyTorch tutorial does otherwise, `finetuning.py` how a training goes on from a bot.
`journal.py` is what is written down, `distributed.py` and `signals.py` many processes and their end.
"""
