"""The machine around the programs: its users, what the sandbox was told at start, its process tree."""
