"""Models put together of parts: a language model and towers."""
