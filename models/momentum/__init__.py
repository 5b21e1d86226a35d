"""What changes slowly while training: momentum copies, and queues of their rows."""
