"""The back-end client: how the server application is told, and what it answers."""
