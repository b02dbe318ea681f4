"""Statistics of a stream of classified posts, and the labels that people give in the duel.

    windows     counts by label over 10 s, 1 min and 5 min, and the line of net sentiment with its interval
    words       the words and hashtags that set one label's posts apart
    shift       an alert when sentiment shifts beyond chance
    reference   what a model's training texts were like, in counts, kept with the artifact
    drift       is the incoming text like the text that the model was trained on?
    labels      the queue of disagreements and the store of a person's labels
    statistics  all of these at once, as a listener of a feed

Nothing here knows a source, a feed or Gradio: posts come in as texts, labels and numbers.
"""
