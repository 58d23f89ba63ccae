"""The parts of one `model.fit`: `fit_wiring` makes them, and `fit_driver` calls them."""
