"""On a real kernel, with hosts of its own: namespaces, a wire that misbehaves, forgers, and other people's programs."""
