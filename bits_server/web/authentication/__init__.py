"""Who sends a request: the schemes of RFC 9110 11 that Windows clients and proxies speak."""
