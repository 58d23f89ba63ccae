"""Files of a run: names, manifest, commit, catalog, verification, journal. No TensorFlow here."""
