"""The compiled kernels of a training step on a CPU: which are used, and calls whose arguments are laid down once."""
