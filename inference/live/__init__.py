"""Live posts: their sources, the model's answers to them, and the labels that people give.

post, filter   a post, and which ones to classify
request        the settings of a stream; `pricing`: what reading X costs; `errors`: what can go wrong
sources        Bluesky, Mastodon, X and the replay of a file
feed           moves posts from a source through a model and to listeners; `counts` has its numbers
recording      a listener that saves posts as JSON lines
statistics     a listener that keeps shares and net sentiment over time, `words`, `shift` and `drift`
review         the disagreements of two models, and the labels that people give
command        `python -m inference live`
"""
