"""What travels: event types, the topic table, codecs, adapters for foreign formats, AsyncAPI."""
