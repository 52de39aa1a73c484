"""Terminals: several streams look at one and type into it; one of them decides its size."""
