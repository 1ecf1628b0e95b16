"""One file a command (or family of commands); `pipeline/cli.py` has the table of them."""
