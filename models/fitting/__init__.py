"""The released classifiers of landmark fittings (f_cl of Chrysos & Zafeiriou)."""
