"""One count by three witnesses: libbpf's C and BCC's C by our engines, and bpftrace, on the same events.

``texts`` writes what each of them runs, ``held`` keeps a command waiting until all three are attached, ``running`` is
one of them at work, ``result`` is what came out, and ``checking`` does it all: :func:`ebpflab.check`. docs/check.md
says how the events come to be the same.
"""
