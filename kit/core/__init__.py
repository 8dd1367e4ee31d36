"""Core: errors, files, arrays, names, tensors, deadlines and the terminal; what every wing uses."""
