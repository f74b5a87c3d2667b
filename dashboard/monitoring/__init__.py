"""Metrics for others: the Prometheus exporter; Grafana's boards lie in deploy/grafana."""
