"""BCC's dialect of C, rewritten to plain C by BCC's own library and compiled like any other cell.

``libbcc.so.0`` is used for one thing: with its debug flag 4 it prints the C that its rewriter made of a program.
It runs in a child process (:mod:`.rewriter`), and reads headers that are made from the running kernel's BTF
(:mod:`.tree`), so neither kernel headers nor BCC's Python package are needed.
"""
