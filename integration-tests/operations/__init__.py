"""What running the suite takes: replicas and their restart, load that keeps account, faults, what the topics tell, backups."""
