"""The parts that handle one `model.fit`: `fit_assembly` makes them, and `fit_driver` calls them."""
