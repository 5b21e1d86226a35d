"""Looking at a dump by hand (`evaluate/browse.py` is the command): a local page that takes a picture, a clip, words or an item's id.

`encoder` is the process that turns what a person gives into a vector, `collection` a domain of a dump in memory, `finder` puts the two together,
`uploads` says what a file is and `sizes` how many pixels it has, `reading` bounds what is read of a request, `names` says which requests are
for us, `app` speaks HTTP.
"""
