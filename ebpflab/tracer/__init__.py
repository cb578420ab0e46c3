"""bpftrace beside our own engines: its programs run as a child process, and what they print becomes frames.

bpftrace prints JSON, one message a line (``-f json``; src/output/json.cpp there, and src/output.cpp before 0.24). It
says what a map holds, but neither what its keys are called nor whether ``"1,x"`` is one key or two: that is in the
program's text. ``script`` reads the text, ``messages`` the lines, ``tables`` makes frames of both; ``process`` owns the
child, and ``trace`` is what a user holds.
"""
