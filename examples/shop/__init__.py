"""A small shop: orders, what they cost, and the two parties outside that it deals with."""
