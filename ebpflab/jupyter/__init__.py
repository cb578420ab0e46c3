"""The notebook's side: magics that parse a line, call the session and show it."""
