"""The master of the house: decides what happens next, and writes every intention and outcome down."""
