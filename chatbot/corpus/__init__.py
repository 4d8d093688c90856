"""The name of a corpus, or the path of files in any supported format, comes in; a folder of prepared arrays of word
ids, the vocabulary and figures goes out. Read preparation.py first: it finds the raw files (sources, inputs), reads
dialogues out of them (formats, reading), makes pairs of words (tokenizer, pairs), and numbers them in a second pass
(draft, numbering, vocabulary). prepared.py reads the result, memory-mapped, for training and evaluation, and
ngrams.py lays its texts out to be counted. No torch here.
"""
