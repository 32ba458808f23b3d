"""The book of the house: events, their encoding and the append-only store. It knows no other room."""
