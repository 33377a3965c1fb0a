"""Talking to Kafka: whom to reach and how, what to ask of a cluster, what its errors mean."""
