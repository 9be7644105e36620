"""The project that a command is called in: options, folders, git, dvc.yaml."""
