"""RabbitMQ through kombu's own transport: what that leaves open of waiting, confirming, declaring and delaying."""
