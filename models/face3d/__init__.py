"""The released 3D morphable model of faces."""
