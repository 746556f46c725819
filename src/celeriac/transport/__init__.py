"""kombu channels on a message queue, and the leases on what they hold."""
