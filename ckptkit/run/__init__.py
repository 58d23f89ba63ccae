"""The files of a run: manifest, catalog, commit, retention, journal. No TensorFlow here."""
