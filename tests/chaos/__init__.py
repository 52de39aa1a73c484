"""Everything at once while servers are killed: `make chaos`."""
