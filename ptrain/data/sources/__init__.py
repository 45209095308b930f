"""Where data come from: ``table`` says what ``--data`` may name, ``load`` opens it; every format has a file."""
