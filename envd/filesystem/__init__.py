"""Files and directories: look, change, transfer."""
