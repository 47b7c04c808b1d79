"""The sets of the benchmark as tasks, one YAML file each."""
