"""Processes: they are started as a user, their output kept in journals, their ends remembered."""
