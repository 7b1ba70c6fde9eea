"""When face and voice disagree: conflict items of a corpus, and what a model makes of them."""
