"""A recipe for a folder of pictures: what can be measured or counted needs no option.

``understudy init`` calls :func:`~understudy.proposal.propose.propose` and writes the text of
:func:`~understudy.proposal.recipe_text.recipe_text`.
"""
