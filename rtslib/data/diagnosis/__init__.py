"""What somebody's file or folder is, in plain words: one kind a file; `rtslib.cli.doctor` says it."""
