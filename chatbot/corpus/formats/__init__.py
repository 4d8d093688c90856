"""Raw files of every supported format come in, dialogues go out; no other part of the program knows these formats.
Read recognise.py first: it finds the format of files and has the table of readers. dialogue.py holds what the readers
share, and every other file reads one format. Readers hold one dialogue at a time in memory, whatever the size of the
corpus, except for Cornell's, whose lines are in no order."""
