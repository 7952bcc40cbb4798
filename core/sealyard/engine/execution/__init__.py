"""Job execution: the queue, attempts with their leases, progress and results."""
