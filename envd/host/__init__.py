"""The machine around the processes: its users, the settings of the sandbox, process trees."""
