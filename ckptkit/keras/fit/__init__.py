"""The parts of one `model.fit`: `fit_opening` makes them, and `fit_event_dispatch` calls them."""
