"""The page on which administrators see the sessions of all virtual directories, and act on them."""
