"""Where sessions and their request entities rest. Knows protocol values only."""
