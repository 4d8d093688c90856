"""What the command `chatbot` of an installed package calls: `python -m chatbot`, under another name."""

from .system.start import begin


def main() -> int:
    """Run the command line and return the exit code."""
    begin()  # before all the imports of the next line
    from .__main__ import main

    return main()
