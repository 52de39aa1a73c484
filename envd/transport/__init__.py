"""Bytes to calls and back. Names no service: it serves the method table and the route table it is given."""
