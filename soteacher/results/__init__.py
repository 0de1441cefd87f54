"""The files of results/<study>: measures collected from the store, checked and recomputed."""
