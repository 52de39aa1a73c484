"""The services: RPCs and REST routes, between the wires and the domains."""
