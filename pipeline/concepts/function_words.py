"""English words that stand in any caption and say nothing of its picture. The list is ours."""

_ARTICLES_AND_PRONOUNS = """
a an the this that these those it its he him his she her hers they them their theirs we us our you your i me my who whom whose which what
one ones each every either neither both all any some none no not other others another such same own himself herself itself themselves
there here someone something anything everyone everything nothing nobody
"""
_PREPOSITIONS_AND_CONJUNCTIONS = """
of in on at to from with without within by for about above below under underneath over into onto upon out off up down through across along
against among amongst around behind beside besides between beyond near nearby next inside outside toward towards past via during before
after since until while as than then if or and but nor so because though although whether when where how why per like together apart
"""
_VERBS_THAT_HELP = """
be is are was were been being am do does did done doing have has had having can could will would shall should may might must
get gets getting got go goes going gone come comes coming make makes making made take takes taking taken seem seems appear appears appearing
"""
_ADVERBS_AND_AMOUNTS = """
very too also just only even still yet again almost really quite rather away back ahead aside forward now once ever never always
several many much more most few less least lot lots bunch couple various different several enough various multiple
"""
_OF_CAPTIONS = """
image images picture pictures photo photos photograph photographs view views shot scene background foreground side front top bottom left right
middle center centre end part kind type set group pair piece pieces
"""

FUNCTION_WORDS = frozenset(
    " ".join((_ARTICLES_AND_PRONOUNS, _PREPOSITIONS_AND_CONJUNCTIONS, _VERBS_THAT_HELP, _ADVERBS_AND_AMOUNTS, _OF_CAPTIONS)).split()
)
"""Left out of concepts, with what captions say of themselves ("a picture of the left side")."""
