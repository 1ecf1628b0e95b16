"""What detection and alerting are made of: metrics and their history, baselines, organisations, families of alerts."""
