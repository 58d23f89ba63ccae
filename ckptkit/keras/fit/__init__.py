"""The parts that handle one `model.fit`: `fit_wiring` creates them, and `fit_driver` calls them."""
