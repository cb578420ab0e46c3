"""What is in a tracepoint's format file: its text, the C struct, and what the kernel prints for its numbers."""
