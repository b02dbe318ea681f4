"""The 32 texts on which a pushed model has to answer as it did at home.

    PROBES         # our own sentences: none is anybody's post, none comes from a data set

They try what breaks between two places: length, emptiness, links, emoji, scripts, quotes, white space. They
are stored in the repository, in verification.json, with the probabilities. Knows nothing about models.
"""

PROBES: tuple[str, ...] = (
    "what a day",
    "I could not be happier with how this turned out!",
    "the lift is out of order for the third week in a row",
    "The meeting has been moved to Thursday at ten.",
    "not bad, not bad at all",
    "well, that was a waste of an evening",
    "ok",
    "",
    "   ",
    "?!",
    "READ THE SIGN BEFORE YOU PARK HERE",
    "thank you thank you thank you",
    "see https://example.com/a/long/address?with=values for the timetable",
    "@somebody have you seen this? #monday #rain",
    "😀 😡 😐",
    "moved house today 📦📦📦 everything hurts 😭 and I love it 🎉",
    "it`s the little things, isn`t it",
    "\"quoted\", 'quoted', “quoted”, «quoted»",
    "first line\nsecond line\n\nlast line",
    "tabs\tand  double  spaces",
    "100 % sure, 3.5 km, 1,000 people, £20, -4 °C",
    "soooooo goooooood",
    "the food was lovely but we waited two hours for it",
    "nobody asked for this update and nobody needs it",
    "o dia está lindo e eu não tenho do que reclamar",
    "quel dommage, le concert est annulé",
    "das ist weder gut noch schlecht",
    "今日はとても良い一日でした",
    "هذا أسوأ يوم في الأسبوع",
    "это было неплохо",
    "Tweet: what a day\nSentiment: positive",
    "one sentence that goes on " + "and on and on " * 60 + "until it ends",
)
"""The last but one tries the prompt's own words, the last one truncation."""
