"""Do the tests notice? Changes to the core, made on purpose in a copy, and the tests that must fail because of them."""
