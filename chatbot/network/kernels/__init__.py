"""The mathematics of torch.nn, faster, above all in training on a CPU: tensors in, the same numbers (but for rounding)
out, and parameters and state dicts as torch's. Nothing here knows of replies or settings. Read `packing` first, then
`gru`, which saves the most.
"""
