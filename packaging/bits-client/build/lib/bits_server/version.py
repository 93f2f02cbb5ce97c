"""The version, where the build reads it without importing anything else."""

VERSION = "0.1.0"
