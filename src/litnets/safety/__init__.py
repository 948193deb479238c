"""Handle untrusted files, names and strings, so that none can run code, redirect a write or control the terminal."""
