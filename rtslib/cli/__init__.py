"""The command line, one file a group of commands; `rtslib.cli.main` runs it."""
