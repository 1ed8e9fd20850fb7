"""The released regressor: the network that reads 3D faces."""
