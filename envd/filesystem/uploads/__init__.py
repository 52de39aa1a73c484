"""Files that arrive in parts, over many connections and more than one server process."""
