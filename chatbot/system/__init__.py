"""What the program needs of the machine, and what it says to a person. In come paths, device names and errors of the
operating system; out come files that are whole or not there, one line for each mistake, locks, devices, and the threads
and memory of this process. It knows nothing of chatbots. Read `errors.py` first, for every package uses it; then
`files.py`, whose promise is that a crash never leaves half a file.
"""
