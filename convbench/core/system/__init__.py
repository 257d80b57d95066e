"""What convbench asks of the operating system: files written whole, locks, temporary folders and cores."""
