"""One module per corpus, each of which makes Utterances; corpus/prepare.py names them."""
