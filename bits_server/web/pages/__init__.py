"""The pages that people look at: static files of the package, and the facts that they show."""
