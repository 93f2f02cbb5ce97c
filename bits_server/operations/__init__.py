"""What an administrator works with: the settings file and the log."""
