"""Metrics for others: the Prometheus exporter and Grafana's boards."""
