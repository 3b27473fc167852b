"""The tools of macOS as the double has them: each module is one command, its `main` gets the words after the command's name."""
