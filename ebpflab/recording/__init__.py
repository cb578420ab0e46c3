"""Recordings of streams: Parquet that every tool reads, and that :func:`ebpflab.replay` turns into a session again.

``layout`` says what is in a recording; ``writer`` and ``parts`` make one while events arrive; ``reader`` opens
one; ``playback`` and ``replay`` give it the face of a session; ``fallback`` has notebooks replay bundled
recordings where the kernel cannot be used.
"""
