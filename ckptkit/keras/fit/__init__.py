"""The parts that handle one `model.fit`: `fit_opening` makes them, and `fit_events` calls them."""
