"""What the server does with each packet. Sees the interfaces of storage, never a disk."""
