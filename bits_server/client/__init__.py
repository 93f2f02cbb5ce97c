"""An upload client for the BITS Upload Protocol, with the habits of the Windows service.

It shares ``protocol`` with the server and nothing else. The public API is what ``__all__`` names.
"""
