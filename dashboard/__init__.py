"""The web page that shows a run and turns its knobs, and the exporter that serves its metrics."""
