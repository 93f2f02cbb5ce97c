"""The WSGI edge: from a request to a packet, from an outcome to an Ack."""
