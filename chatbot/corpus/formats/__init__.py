"""Raw files of every supported format in, dialogues out; the only part of the program that knows formats. Read
recognise.py first: it says which format files are of and has the table of readers. dialogue.py is what the readers
share, and each other file reads one format; it holds one dialogue at a time, whatever the size of the corpus
(Cornell's lines, which stand in no order, are held together)."""
