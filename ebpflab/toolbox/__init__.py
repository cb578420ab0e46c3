"""The tools of ``bpf_src/``: what each one answers, how it is run, and how its answer is shown."""
