"""The word lists of the keywords tier: readable TOML files of concepts and rules, loaded once.

A **concept** is a named list of words and phrases for one idea (`"howto"`, `"weapon"`, `"prevention"`). In a word,
`{a,b,}` stands for each of its alternatives, a final `*` for any ending, and `@name` for the words of another concept
or macro. Words are matched whole, on text without case, accents and punctuation.

A **rule** is evidence for or against a category: its concepts stand `near` one another. The concept marked `!` is the
trigger (by default the only or last one); the others must lie before or after it as listed (either side when
`ordered = false`), at most `within` characters away, and no concept of `unless` may be as close. A rule may add a
`pattern` (RE2) that must match somewhere in the words.

Weights are log-odds: `EVIDENCE_NEEDED` of them make a score of one half. Negative weights are mitigating context
(quoting, medicine, history, fiction, programming idiom). Context excuses what is *mentioned*; it does not excuse rules
with `intent = true` (a request or a resolve to do harm, a slur), so that "for a novel" opens no door.
"""

from classifiers.lexicon.files import LexiconError, Rule, load_rules_and_concepts
from classifiers.lexicon.index import Lexicon, compile_lexicon, default_lexicon

__all__ = ["Lexicon", "LexiconError", "Rule", "compile_lexicon", "default_lexicon", "load_rules_and_concepts"]
