"""The web page: RAW files dropped onto it become pictures, on the computer that serves it."""
